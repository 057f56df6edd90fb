// The test function in Go (net/http), from Go 1.19 on. Contract: ../CONTRACT.md.
package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
	"unsafe"
)

const (
	clockMonotonic       = 1
	clockThreadCPU       = 3
	abortedLength        = 1000
	abortedBytes         = 100
	bufferBytes    int64 = 64 << 10
)

var (
	next   = os.Getenv("NEXT")
	scheme = "http"
	truth  *os.File
	buffer = []byte(strings.Repeat("x", int(bufferBytes)))
)

func main() {
	if path := os.Getenv("TRUTH"); path != "" {
		truth = must(os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644))
	}
	http.DefaultTransport.(*http.Transport).MaxIdleConnsPerHost = must(strconv.Atoi(or(os.Getenv("POOL"), "2")))
	listener := must(listen())
	fmt.Println("listening", strings.TrimPrefix(name(listener.Addr()), ":"))
	if pem := os.Getenv("CERTIFICATE"); pem != "" {
		certificates := []tls.Certificate{must(tls.LoadX509KeyPair(pem, pem))}
		listener = tls.NewListener(listener, &tls.Config{Certificates: certificates})
		trusted := x509.NewCertPool()
		trusted.AppendCertsFromPEM(must(os.ReadFile(pem)))
		http.DefaultTransport.(*http.Transport).TLSClientConfig = &tls.Config{RootCAs: trusted}
		scheme = "https"
	}
	panic(http.Serve(listener, handler()))
}

// handler serves everything, or, with MUX set, what these patterns match.
func handler() http.Handler {
	if os.Getenv("MUX") == "" {
		return http.HandlerFunc(serve)
	}
	mux := http.NewServeMux()
	for _, pattern := range []string{
		"GET /t/{mark}/hello",
		"127.0.0.1/t/{mark}/delay",
		"/t/{mark}/stream",
		"/t/{mark}/big",
		"/t/{mark}/fan",
		"/files/",
	} {
		mux.HandleFunc(pattern, serve)
	}
	return mux
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func listen() (net.Listener, error) {
	if path := os.Getenv("UNIX"); path != "" {
		return net.Listen("unix", path)
	}
	return net.Listen("tcp", net.JoinHostPort(or(os.Getenv("HOST"), "127.0.0.1"), or(os.Getenv("PORT"), "0")))
}

func name(address net.Addr) string {
	if tcp, ok := address.(*net.TCPAddr); ok {
		return strconv.Itoa(tcp.Port)
	}
	return address.String()
}

func or(value, otherwise string) string {
	if value == "" {
		return otherwise
	}
	return value
}

func serve(w http.ResponseWriter, r *http.Request) {
	started := clock(clockMonotonic)
	ended := func() {
		w.(http.Flusher).Flush()
		record(r, started)
	}
	switch route(r.URL.Path) {
	case "/hello":
		text(w, 200, "hello from go\n")
	case "/delay":
		time.Sleep(time.Duration(number(r, "ms")) * time.Millisecond)
		text(w, 200, fmt.Sprintf("delayed %d\n", number(r, "ms")))
	case "/stream":
		stream(w, r)
	case "/big":
		big(w, number(r, "bytes"))
	case "/file":
		file(w, number(r, "bytes"))
	case "/upload":
		bytes, _ := io.Copy(io.Discard, r.Body)
		time.Sleep(time.Duration(number(r, "delay")) * time.Millisecond)
		text(w, 200, fmt.Sprintf("bytes=%d\n", bytes))
	case "/error":
		fail(w, int(number(r, "status")))
	case "/abort":
		partial(w)
		ended()
		abort(w, number(r, "reset") != 0)
		return
	case "/die":
		partial(w)
		ended()
		os.Exit(3)
	case "/chain":
		status, body := call(r.URL.Query().Get("path"))
		text(w, status, body)
	case "/fan":
		text(w, 200, fan(int(number(r, "n")), r.URL.Query().Get("path")))
	case "/hop":
		status, body := hop(r.Header.Get("X-Plan"), r.Header.Get("X-Node"))
		text(w, status, body)
	case "/burn":
		text(w, 200, burn(number(r, "ms")))
	case "/echo-headers":
		text(w, 200, headers(r))
	default:
		text(w, 404, "not found\n")
	}
	ended()
}

// route cuts off /t/<anything>, and what follows /hop.
func route(path string) string {
	if strings.HasPrefix(path, "/hop/") {
		return "/hop"
	}
	if strings.HasPrefix(path, "/t/") {
		if _, after, found := strings.Cut(path[len("/t/"):], "/"); found {
			return "/" + after
		}
	}
	return path
}

func number(r *http.Request, parameter string) int64 {
	value, _ := strconv.ParseInt(r.URL.Query().Get(parameter), 10, 64)
	return value
}

func text(w http.ResponseWriter, status int, body string) {
	w.Header().Set("Content-Type", "text/plain")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	io.WriteString(w, body)
}

func fail(w http.ResponseWriter, status int) {
	if status == 204 || status == 304 {
		w.WriteHeader(status)
		return
	}
	text(w, status, fmt.Sprintf("status %d\n", status))
}

func stream(w http.ResponseWriter, r *http.Request) {
	kind, piece := "text/plain", "piece %d\n"
	if number(r, "sse") != 0 {
		kind, piece = "text/event-stream", "data: piece %d\n\n"
	}
	w.Header().Set("Content-Type", kind)
	for i := int64(1); i <= number(r, "n"); i++ {
		if i > 1 {
			time.Sleep(time.Duration(number(r, "ms")) * time.Millisecond)
		}
		fmt.Fprintf(w, piece, i)
		w.(http.Flusher).Flush()
	}
}

func big(w http.ResponseWriter, bytes int64) {
	w.Header().Set("Content-Type", "text/plain")
	w.Header().Set("Content-Length", strconv.FormatInt(bytes, 10))
	for left := bytes; left > 0; {
		piece := buffer
		if left < bufferBytes {
			piece = buffer[:left]
		}
		written, err := w.Write(piece)
		if err != nil {
			return
		}
		left -= int64(written)
	}
}

func file(w http.ResponseWriter, bytes int64) {
	sparse := must(os.CreateTemp("", "function"))
	defer sparse.Close()
	os.Remove(sparse.Name())
	must(0, sparse.Truncate(bytes))
	w.Header().Set("Content-Type", "text/plain")
	w.Header().Set("Content-Length", strconv.FormatInt(bytes, 10))
	io.Copy(w, sparse)
}

func partial(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "text/plain")
	w.Header().Set("Content-Length", strconv.Itoa(abortedLength))
	w.Write(buffer[:abortedBytes])
}

func abort(w http.ResponseWriter, reset bool) {
	connection, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if tcp, ok := connection.(*net.TCPConn); ok && reset {
		tcp.SetLinger(0)
	}
	connection.Close()
}

func call(path string) (int, string) {
	request, err := http.NewRequest("GET", next+path, nil)
	if err != nil {
		return 502, err.Error() + "\n"
	}
	return exchange(request)
}

func exchange(request *http.Request) (int, string) {
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return 502, err.Error() + "\n"
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		return 502, err.Error() + "\n"
	}
	return answer.StatusCode, string(body)
}

func fan(n int, path string) string {
	statuses := make([]string, n)
	var all sync.WaitGroup
	for i := range statuses {
		i := i
		all.Add(1)
		go func() {
			defer all.Done()
			status, _ := call(path)
			statuses[i] = strconv.Itoa(status)
		}()
	}
	all.Wait()
	return "fan " + strings.Join(statuses, ",") + "\n"
}

// hop follows the plan's node of that index: status and body of the answer.
func hop(plan, index string) (int, string) {
	node := nodeOf(plan, index)
	wait(node[2])
	children := strings.FieldsFunc(node[5], func(r rune) bool { return r == ',' })
	done := make(chan bool, len(children))
	for _, child := range children {
		child := child
		if node[4] == "p" {
			go func() { done <- hopTo(plan, child) }()
		} else {
			done <- hopTo(plan, child)
		}
	}
	status, body := 200, "ok\n"
	for range children {
		if !<-done {
			status, body = 502, "a child failed\n"
		}
	}
	wait(node[3])
	return status, body
}

func hopTo(plan, index string) bool {
	node := nodeOf(plan, index)
	request := must(http.NewRequest("GET", scheme+"://127.0.0.1:"+node[0]+node[1], nil))
	request.Header.Set("X-Plan", plan)
	request.Header.Set("X-Node", index)
	status, _ := exchange(request)
	return status == 200
}

func nodeOf(plan, index string) []string {
	return strings.Split(strings.Split(plan, "|")[must(strconv.Atoi(index))], ";")
}

func wait(ms string) {
	time.Sleep(time.Duration(must(strconv.Atoi(ms))) * time.Millisecond)
}

func burn(ms int64) string {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	began := clock(clockThreadCPU)
	for clock(clockThreadCPU)-began < ms*1_000_000 {
	}
	return fmt.Sprintf("cpu_ns=%d\n", clock(clockThreadCPU)-began)
}

func headers(r *http.Request) string {
	var lines strings.Builder
	fmt.Fprintf(&lines, "Host: %s\n", r.Host)
	for name, values := range r.Header {
		for _, value := range values {
			fmt.Fprintf(&lines, "%s: %s\n", name, value)
		}
	}
	return lines.String()
}

func record(r *http.Request, started int64) {
	if truth != nil {
		fmt.Fprintf(truth, "{\"path\":%q,\"pid\":%d,\"started_ns\":%d,\"ended_ns\":%d}\n",
			r.RequestURI, os.Getpid(), started, clock(clockMonotonic))
	}
}

func clock(id uintptr) int64 {
	var reading syscall.Timespec
	syscall.RawSyscall(syscall.SYS_CLOCK_GETTIME, id, uintptr(unsafe.Pointer(&reading)), 0)
	return reading.Nano()
}
