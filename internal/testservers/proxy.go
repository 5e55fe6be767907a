package testservers

import (
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"time"
)

// ProxyOptions say who may pass. With none of them everybody may.
type ProxyOptions struct {
	Authority      *Authority // TLS; nil: none
	User, Password string     // basic authentication
	APIKey         string     // as Elasticsearch gives it out, encoded
}

// Proxy is the security that the Elasticsearch of the tests does not have.
type Proxy struct {
	URL string // http:// or https://
}

// StartProxy passes on to target, a URL, what comes with the right credentials,
// and answers the rest with 401 as Elasticsearch does.
func StartProxy(t TB, target string, o ProxyOptions) *Proxy {
	t.Helper()
	to, err := url.Parse(target)
	if err != nil {
		t.Fatalf("proxy to %s: %v", target, err)
	}
	transport := &http.Transport{MaxIdleConnsPerHost: 16, IdleConnTimeout: time.Minute}
	forward := &httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(to) },
		Transport: transport,
		ErrorLog:  log.New(io.Discard, "", 0), // a test may kill what is behind
	}
	server := &http.Server{ReadHeaderTimeout: time.Minute, ErrorLog: forward.ErrorLog, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !o.admits(r) {
			w.Header().Add("WWW-Authenticate", `Basic realm="security" charset="UTF-8"`)
			w.Header().Add("WWW-Authenticate", "ApiKey")
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("X-Elastic-Product", "Elasticsearch")
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = io.WriteString(w, `{"error":{"root_cause":[{"type":"security_exception","reason":"missing authentication credentials"}],"type":"security_exception","reason":"missing authentication credentials"},"status":401}`)
			return
		}
		r.Header.Del("Authorization")
		forward.ServeHTTP(w, r)
	})}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("proxy: %v", err)
	}
	served := make(chan struct{})
	t.Cleanup(func() {
		_ = server.Close()
		<-served
		transport.CloseIdleConnections()
	})
	scheme := "http://"
	if o.Authority != nil {
		scheme = "https://"
	}
	go func() {
		defer close(served)
		if o.Authority != nil {
			_ = server.ServeTLS(listener, o.Authority.CertFile, o.Authority.KeyFile) // until it is closed
			return
		}
		_ = server.Serve(listener)
	}()
	return &Proxy{URL: scheme + listener.Addr().String()}
}

func (o ProxyOptions) admits(r *http.Request) bool {
	if o.User == "" && o.APIKey == "" {
		return true
	}
	user, password, basic := r.BasicAuth()
	if basic && o.User != "" {
		return user == o.User && password == o.Password
	}
	scheme, key, _ := strings.Cut(r.Header.Get("Authorization"), " ") // clients spell it in several ways
	return o.APIKey != "" && strings.EqualFold(scheme, "ApiKey") && key == o.APIKey
}
