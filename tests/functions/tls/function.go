// HTTPS by net/http and crypto/tls. Calls the next one for each request, over kept connections, where NEXT_PORT names it.
// CERTIFICATE: a PEM file with certificate and key. HTTP/1.1, or with HTTP2 as both ends negotiate by themselves.
package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"
)

var (
	next        = os.Getenv("NEXT_PORT")
	certificate = os.Getenv("CERTIFICATE")
	client      http.Client
)

func main() {
	listener := must(net.Listen("tcp", "127.0.0.1:0"))
	fmt.Println("listening", listener.Addr().(*net.TCPAddr).Port)
	trusted := x509.NewCertPool()
	trusted.AppendCertsFromPEM(must(os.ReadFile(certificate)))
	transport := &http.Transport{
		TLSClientConfig:     &tls.Config{RootCAs: trusted},
		MaxIdleConnsPerHost: 64,
		ForceAttemptHTTP2:   os.Getenv("HTTP2") != "",
	}
	client.Transport = transport
	server := &http.Server{Handler: http.HandlerFunc(serve)}
	if !transport.ForceAttemptHTTP2 {
		server.TLSNextProto = map[string]func(*http.Server, *tls.Conn, http.Handler){}
	}
	panic(server.ServeTLS(listener, certificate, certificate))
}

func serve(w http.ResponseWriter, r *http.Request) {
	must(io.Copy(io.Discard, r.Body))
	body := []byte("hello")
	if next == "" {
		time.Sleep(2 * time.Millisecond)
	} else {
		answer := must(client.Get("https://localhost:" + next + r.URL.RequestURI()))
		body = must(io.ReadAll(answer.Body))
		answer.Body.Close()
	}
	w.Header().Set("Set-Cookie", "session=canary")
	must(w.Write(body))
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}
