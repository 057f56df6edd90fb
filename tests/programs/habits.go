// A function with habits that mislead (Go net/http, a pool that keeps its connections): see habits.py. Mode b calls by a
// new goroutine, mode a by one of those that the first request started.
package main

import (
	"fmt"
	"io"
	"math/rand"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

const workers = 8

var (
	polls sync.Once
	pool  sync.Once
	tasks = make(chan func(), 1024)
)

func main() {
	http.DefaultTransport.(*http.Transport).MaxIdleConnsPerHost = 64
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	if os.Getenv("LAZY") == "" {
		polls.Do(poll)
	}
	fmt.Println("listening", listener.Addr().(*net.TCPAddr).Port)
	panic(http.Serve(listener, http.HandlerFunc(serve)))
}

func serve(w http.ResponseWriter, r *http.Request) {
	polls.Do(poll)
	plan := r.Header.Get("X-Plan")
	nodes := strings.Split(plan, "|")
	own, next := strings.Split(nodes[0], ";"), strings.Split(nodes[1], ";")
	later := func() {
		sleep(own[2])
		call(plan, next[0], next[1])
	}
	switch own[4] {
	case "s":
		later()
	case "a":
		pool.Do(work)
		tasks <- later
	default:
		go later()
	}
	sleep(own[3])
	io.WriteString(w, "ok\n")
}

func work() {
	for range workers {
		go func() {
			for task := range tasks {
				task()
			}
		}()
	}
}

func sleep(ms string) {
	number, _ := strconv.Atoi(ms)
	time.Sleep(time.Duration(number) * time.Millisecond)
}

func call(plan, port, path string) {
	request, err := http.NewRequest("GET", "http://127.0.0.1:"+port+path, nil)
	if err != nil {
		return
	}
	request.Header.Set("X-Plan", plan)
	request.Header.Set("X-Node", "1")
	if answer, err := http.DefaultClient.Do(request); err == nil {
		io.Copy(io.Discard, answer.Body)
		answer.Body.Close()
	}
}

// As often as POLL says, if at all.
func poll() {
	every, err := strconv.Atoi(os.Getenv("POLL"))
	if err != nil {
		return
	}
	go func() {
		port := os.Getenv("POLLED")
		for range time.Tick(time.Duration(every) * time.Millisecond) {
			target := fmt.Sprintf("/hop/%016x/%016x", rand.Uint64(), 0)
			call(fmt.Sprintf("|%s;%s;0;0;s;", port, target), port, target)
		}
	}()
}
