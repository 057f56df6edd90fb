// A function that lives for a moment: it listens, is asked FIRST_MS later for the first time, by itself and over the loopback,
// then asks TARGET (if set), both COUNT times, and ends LIFE_MS after its start. The targets of its requests are
// /t/<NAME>-<own|out>-<index>/hello; with BORN_NS, -<nanoseconds since then> behind the index. What was answered with 200 is
// appended to TRUTH, a path a line. PROCESSES: so many such processes one after another instead, each of an exec of its own,
// named NAME-<number>.
package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"time"
)

func main() {
	if processes := number("PROCESSES", 0); processes > 0 {
		repeat(processes)
		return
	}
	born := time.Now()
	truth := must(os.OpenFile(os.Getenv("TRUTH"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644))
	listener := must(net.Listen("tcp", "127.0.0.1:0"))
	go http.Serve(listener, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "hello\n")
	}))
	time.Sleep(milliseconds("FIRST_MS", 5))
	ask(truth, "http://"+listener.Addr().String(), "own")
	if target := os.Getenv("TARGET"); target != "" {
		ask(truth, target, "out")
	}
	time.Sleep(time.Until(born.Add(milliseconds("LIFE_MS", 300))))
}

// ask requests over one kept connection; a fault ends the process, so that no request is lost unseen.
func ask(truth *os.File, base, whose string) {
	for index := 0; index < number("COUNT", 1); index++ {
		path := fmt.Sprintf("/t/%s-%s-%d%s/hello", os.Getenv("NAME"), whose, index, age())
		answer := must(http.Get(base + path))
		must(io.Copy(io.Discard, answer.Body))
		answer.Body.Close()
		if answer.StatusCode != 200 {
			panic(answer.Status)
		}
		must(fmt.Fprintln(truth, path))
	}
}

func age() string {
	born, err := strconv.ParseInt(os.Getenv("BORN_NS"), 10, 64)
	if err != nil {
		return ""
	}
	return fmt.Sprintf("-%d", time.Now().UnixNano()-born)
}

func repeat(processes int) {
	for index := 0; index < processes; index++ {
		command := exec.Command("/proc/self/exe")
		command.Stderr = os.Stderr
		name := fmt.Sprintf("NAME=%s-%d", os.Getenv("NAME"), index)
		born := fmt.Sprintf("BORN_NS=%d", time.Now().UnixNano())
		command.Env = append(os.Environ(), "PROCESSES=0", name, born)
		must(0, command.Run())
	}
	fmt.Println("done", processes)
	select {}
}

func milliseconds(name string, otherwise int) time.Duration {
	return time.Duration(number(name, otherwise)) * time.Millisecond
}

func number(name string, otherwise int) int {
	if value, err := strconv.Atoi(os.Getenv(name)); err == nil {
		return value
	}
	return otherwise
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}
