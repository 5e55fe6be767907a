package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/EventStore/EventStore-Client-Go/v4/esdb"
	"github.com/ncruces/go-sqlite3"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/docket-orders/docket/eventstore/sqlite"
	"github.com/docket-orders/docket/httpapi"
	"github.com/docket-orders/docket/reconcile"
	"github.com/docket-orders/docket/view"
)

// TestMain makes this very test binary answer to the name docket, in scripts
// and for exec.Command; in scripts docket-with-models has one read model.
func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"docket": main, "docket-with-models": mainWithModels})
}

const excerpt = "../../importer/excerpt/online-retail-excerpt.csv"

// TestScripts runs the sessions in testdata/script. Beside the commands of
// testscript they know:
//
//	await-server DIR             until the docket of the folder is ready
//	await-esdb                   until something listens on $ESDB_ADDRESS, which
//	                             is free at first; $ESDB is its connection string
//	http STATUS METHOD PATH [BODY]
//	                             one request to it; the answer is stdout
//	newer FILE                   makes a database of it that a later docket wrote
//	damage FILE OLD NEW          replaces text in a file by text as long
//	status N COMMAND...          runs a command that must end with this status
//	free-port NAME               a port nobody listens on, into a variable
//	await-port PORT              until somebody listens on it
//	esdb-append URL STREAM TYPE DATA
//	                             one event by EventStoreDB's own client
//	sql FILE STATEMENTS          what another program does to a database; each
//	                             must change something
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			text, err := os.ReadFile(excerpt)
			if err != nil {
				return err
			}
			free, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				return err
			}
			e.Setenv("ESDB_ADDRESS", free.Addr().String())
			e.Setenv("ESDB", "esdb://"+free.Addr().String()+"?tls=false")
			if err := free.Close(); err != nil {
				return err
			}
			return os.WriteFile(filepath.Join(e.WorkDir, "excerpt.csv"), text, 0o600)
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"await-server": awaitServer,
			"await-esdb":   awaitEventStore,
			"http":         scriptHTTP,
			"newer":        makeNewer,
			"damage":       damage,
			"sql":          changeBySQL,
			"free-port":    freePort,
			"await-port":   awaitPort,
			"esdb-append":  appendByClient,
			"status":       exitsWith,
		},
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
	})
}

func awaitServer(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: await-server DIR")
	}
	dir := ts.MkAbs(args[0])
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); <-tick.C {
		r, there, err := readRunFile(dir)
		if err != nil || !there {
			continue
		}
		resp, err := http.Get("http://" + r.Address + "/readyz")
		if err != nil {
			continue
		}
		resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			ts.Setenv("BASE", "http://"+r.Address)
			ts.Setenv("ADDRESS", r.Address)
			return
		}
	}
	ts.Fatalf("no docket is ready in %s", args[0])
}

func awaitEventStore(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 0 {
		ts.Fatalf("usage: await-esdb")
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); <-tick.C {
		if conn, err := net.Dial("tcp", ts.Getenv("ESDB_ADDRESS")); err == nil {
			ts.Check(conn.Close())
			return
		}
	}
	ts.Fatalf("nothing listens on %s", ts.Getenv("ESDB_ADDRESS"))
}

func freePort(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: free-port NAME")
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	ts.Setenv(args[0], strconv.Itoa(listener.Addr().(*net.TCPAddr).Port))
	ts.Check(listener.Close())
}

func awaitPort(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: await-port PORT")
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); <-tick.C {
		conn, err := net.Dial("tcp", "127.0.0.1:"+args[0])
		if err == nil {
			ts.Check(conn.Close())
			return
		}
	}
	ts.Fatalf("nobody listens on %s", args[0])
}

func appendByClient(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 4 {
		ts.Fatalf("usage: esdb-append URL STREAM TYPE DATA")
	}
	config, err := esdb.ParseConnectionString(args[0])
	ts.Check(err)
	config.Logger = esdb.NoopLogging()
	client, err := esdb.NewClient(config)
	ts.Check(err)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	_, err = client.AppendToStream(ctx, args[1], esdb.AppendToStreamOptions{}, esdb.EventData{
		EventType: args[2], ContentType: esdb.ContentTypeJson, Data: []byte(args[3]),
	})
	if failed := err != nil; failed != neg {
		ts.Fatalf("append: %v", err)
	}
	ts.Check(client.Close())
}

func scriptHTTP(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 3 || len(args) > 4 {
		ts.Fatalf("usage: http STATUS METHOD PATH [BODY]")
	}
	var body io.Reader
	if len(args) == 4 {
		body = strings.NewReader(args[3])
	}
	request, err := http.NewRequest(args[1], ts.Getenv("BASE")+args[2], body)
	ts.Check(err)
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	resp, err := http.DefaultClient.Do(request)
	ts.Check(err)
	defer resp.Body.Close()
	_, err = io.Copy(ts.Stdout(), resp.Body)
	ts.Check(err)
	if got := resp.Status[:3]; got != args[0] {
		ts.Fatalf("%s %s: status %s, want %s", args[1], args[2], got, args[0])
	}
}

// userVersion is where SQLite keeps the number that docket gives its format.
const userVersion = 60

func makeNewer(ts *testscript.TestScript, neg bool, args []string) {
	name := ts.MkAbs(args[0])
	text, err := os.ReadFile(name)
	ts.Check(err)
	binary.BigEndian.PutUint32(text[userVersion:], 999)
	ts.Check(os.WriteFile(name, text, 0o600))
}

func damage(ts *testscript.TestScript, neg bool, args []string) {
	name := ts.MkAbs(args[0])
	text, err := os.ReadFile(name)
	ts.Check(err)
	changed := bytes.ReplaceAll(text, []byte(args[1]), []byte(args[2]))
	if len(args[1]) != len(args[2]) || bytes.Equal(changed, text) {
		ts.Fatalf("%s does not hold %q", args[0], args[1])
	}
	ts.Check(os.WriteFile(name, changed, 0o600))
}

func changeBySQL(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: sql FILE STATEMENT...")
	}
	conn, err := sqlite3.OpenFlags(ts.MkAbs(args[0]), sqlite3.OPEN_READWRITE)
	ts.Check(err)
	defer conn.Close()
	for _, statement := range args[1:] {
		ts.Check(conn.Exec(statement))
		if conn.Changes() == 0 {
			ts.Fatalf("%s: changes nothing", statement)
		}
	}
}

func exitsWith(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: status N COMMAND...")
	}
	err := ts.Exec(args[1], args[2:]...)
	got := "0"
	var ended *exec.ExitError
	if errors.As(err, &ended) {
		got = strconv.Itoa(ended.ExitCode())
	} else {
		ts.Check(err)
	}
	if got != args[0] {
		ts.Fatalf("%s ended with status %s, want %s", args[1], got, args[0])
	}
}

func TestExitStatus(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	var report bytes.Buffer
	if run(t.Context(), []string{"import", "online-retail", "--file", excerpt, "--data", dir}, &report, &report) != exitDone {
		t.Fatal(report.String())
	}
	cases := map[string]struct {
		args   []string
		status int
		says   string // on stderr
	}{
		"done":                {[]string{"version"}, exitDone, ""},
		"help":                {[]string{"import", "--help"}, exitDone, ""},
		"no command":          {nil, exitUsage, `expected one of "serve"`},
		"unknown command":     {[]string{"ordr"}, exitUsage, `did you mean "order"`},
		"unknown flag":        {[]string{"serve", "--listenn", "x"}, exitUsage, `did you mean "--listen"`},
		"port":                {[]string{"serve", "--listen", "127.0.0.1:99999"}, exitUsage, "0 to 65535"},
		"address":             {[]string{"serve", "--listen", "8080"}, exitUsage, "want HOST:PORT"},
		"open to the world":   {[]string{"serve", "--listen", "0.0.0.0:8080"}, exitUsage, "give --keys"},
		"all interfaces":      {[]string{"demo", "--listen", ":8080"}, exitUsage, "give --keys"},
		"no keys there":       {[]string{"serve", "--keys", "/nonexistent"}, exitUsage, "--keys: open /nonexistent"},
		"level":               {[]string{"serve", "--log-level", "loud"}, exitUsage, "want debug, info, warn or error"},
		"namespace":           {[]string{"serve", "--namespace", "A-B"}, exitUsage, "1 to 16 of a-z and 0-9"},
		"data is a file":      {[]string{"serve", "--data", file}, exitUsage, "is not a folder"},
		"server without http": {[]string{"order", "list", "--server", "localhost:8080"}, exitUsage, "want http://HOST:PORT"},
		"serve a server":      {[]string{"serve", "--server", "http://127.0.0.1:1"}, exitUsage, "works on the folder"},
		"zone":                {[]string{"import", "online-retail", "--file", excerpt, "--zone", "Mars"}, exitUsage, "IANA"},
		"no file":             {[]string{"import", "online-retail"}, exitUsage, "--file"},
		"unknown projection":  {[]string{"projections", "rebuild", "sales", "--data", dir}, exitFailed, "there is no such projection: there is orders (unknown-projection)"},
		"unknown order":       {[]string{"order", "get", "nowhere", "--data", dir}, exitFailed, "unknown-order"},
		"refused question":    {[]string{"order", "list", "--data", dir, "--sort", "total"}, exitFailed, "currency"},
		"no docket there":     {[]string{"order", "list", "--data", filepath.Join(dir, "none")}, exitFailed, "there is no docket in the folder"},
		"nobody answers":      {[]string{"order", "list", "--server", "http://127.0.0.1:1"}, exitFailed, "refused"},
		"nothing to verify":   {[]string{"eventstore", "verify", "--data", filepath.Join(dir, "none")}, exitFailed, "there is no docket in the folder"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			if got := run(t.Context(), c.args, &stdout, &stderr); got != c.status {
				t.Errorf("status %d, want %d; stderr: %s", got, c.status, &stderr)
			}
			if !strings.Contains(stderr.String(), c.says) {
				t.Errorf("stderr: %s", &stderr)
			}
		})
	}
}

// A wrong variable of the environment is refused as a wrong flag is.
func TestEnvironment(t *testing.T) {
	for name, c := range map[string]struct{ value, says string }{
		"DOCKET_LOG_LEVEL": {"loud", "want debug, info, warn or error"},
		"DOCKET_LISTEN":    {"8080", "want HOST:PORT"},
		"DOCKET_JSON":      {"perhaps", "DOCKET_JSON"},
		"DOCKET_NAMESPACE": {"A-B", "1 to 16 of a-z and 0-9"},
		"DOCKET_KEYS":      {"/nonexistent", "--keys: open /nonexistent"},
		"DOCKET_SERVER":    {"localhost:8080", "works on the folder"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv(name, c.value)
			var stderr bytes.Buffer
			if got := run(t.Context(), []string{"serve"}, io.Discard, &stderr); got != exitUsage || !strings.Contains(stderr.String(), c.says) {
				t.Errorf("status %d, stderr: %s", got, &stderr)
			}
		})
	}
}

// TestImportKilled kills an import with kill -9 ten times, at random points of
// its way, and lets the last run end: every document must be as if nothing had
// happened, but for when and where in the log it was written.
func TestImportKilled(t *testing.T) {
	const kills = 10
	calm, killed := t.TempDir(), t.TempDir()
	runImport(t, calm)
	want, total := documents(t, calm), head(t, calm)

	midway := 0
	for n := range kills {
		at := head(t, killed)
		// A little further each time, so that the last kill still finds work.
		until := at + 1 + rand.Uint64N(1+(total-min(at, total))/uint64(kills-n))
		importing := exec.Command("docket", "import", "online-retail", "--file", excerpt, "--data", killed)
		if err := importing.Start(); err != nil {
			t.Fatal(err)
		}
		ended := make(chan struct{})
		go func() { importing.Wait(); close(ended) }()
		awaitHead(t, killed, min(until, total), ended)
		importing.Process.Kill()
		<-ended
		if at := head(t, killed); at > 0 && at < total {
			midway++
		}
	}
	t.Logf("%d of %d kills came while events were missing", midway, kills)
	if midway == 0 {
		t.Error("no kill came while events were missing: this tests nothing")
	}
	runImport(t, killed)

	if got := head(t, killed); got != total {
		t.Errorf("%d events instead of %d", got, total)
	}
	got := documents(t, killed)
	if len(got) != len(want) {
		t.Errorf("%d documents instead of %d", len(got), len(want))
	}
	for id, doc := range want {
		if !reflect.DeepEqual(got[id], doc) {
			t.Errorf("order %s is\n%+v\ninstead of\n%+v", id, got[id], doc)
		}
	}
	if out, err := exec.Command("docket", "eventstore", "verify", "--data", killed).CombinedOutput(); err != nil {
		t.Errorf("verify: %v\n%s", err, out)
	}
}

func runImport(t *testing.T, dir string) {
	t.Helper()
	out, err := exec.Command("docket", "import", "online-retail", "--file", excerpt, "--data", dir).CombinedOutput()
	if err != nil {
		t.Fatalf("import: %v\n%s", err, out)
	}
}

// head is the last position of the log in a folder, 0 when there is none.
func head(t *testing.T, dir string) uint64 {
	t.Helper()
	if _, err := os.Stat(filepath.Join(dir, "events.db")); err != nil {
		return 0
	}
	store, err := sqlite.OpenReadOnly(t.Context(), dir)
	if err != nil {
		return 0 // not yet a log
	}
	defer store.Close()
	at, err := store.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return at.Commit
}

// awaitHead returns when the log has reached a position, or its writer ended.
func awaitHead(t *testing.T, dir string, position uint64, ended <-chan struct{}) {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for head(t, dir) < position {
		select {
		case <-tick.C:
		case <-ended:
			return
		}
	}
}

// documents is every order of a folder, without when and where in the log its
// last event was written.
func documents(t *testing.T, dir string) map[string]view.Order {
	t.Helper()
	found := map[string]view.Order{}
	p := &program{ctx: t.Context(), config: &config{Data: dir}, stdout: io.Discard, stderr: io.Discard}
	docket, err := p.connect(true)
	if err != nil {
		t.Fatal(err)
	}
	for more := ""; ; {
		var page httpapi.ListAnswer
		if _, err := docket.get(t.Context(), "/v1/orders?limit=200&sort=number"+more, &page); err != nil {
			t.Fatal(err)
		}
		for _, o := range page.Items {
			o.Position, o.UpdatedAt = "", time.Time{}
			found[o.ID] = o
		}
		if page.Next == "" {
			break
		}
		more = "&cursor=" + page.Next
	}
	if err := docket.close(); err != nil {
		t.Fatal(err)
	}
	return found
}

// serve runs docket serve over a folder in this process until stop, which
// returns when it has ended.
func serve(t *testing.T, dir string) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var stdout, stderr bytes.Buffer
	ended := make(chan int, 1)
	go func() {
		ended <- run(ctx, []string{"serve", "--data", dir, "--listen", "127.0.0.1:0"}, &stdout, &stderr)
	}()
	stop = sync.OnceFunc(func() {
		cancel()
		if status := <-ended; status != exitDone {
			t.Errorf("serve ended with %d: %s", status, &stderr)
		}
	})
	t.Cleanup(stop)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		if _, there, _ := readRunFile(dir); there {
			return stop
		}
		select {
		case status := <-ended:
			t.Fatalf("serve ended with %d: %s", status, &stderr)
		case <-tick.C:
		}
	}
}

// A command that is on its way when the signal comes is answered, and kept.
func TestShutdownFinishesWhatWasAccepted(t *testing.T) {
	dir := t.TempDir()
	stop := serve(t, dir)
	running, _, err := readRunFile(dir)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", running.Address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	body := `{"id":"late","currency":"EUR","lines":[{"sku":"MUG","quantity":1,"unitPrice":{"amount":"7.50","currency":"EUR"}}]}`
	fmt.Fprintf(conn, "POST /v1/orders HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n", len(body))
	answers := bufio.NewReader(conn)
	if line, err := answers.ReadString('\n'); err != nil || !strings.Contains(line, "100 Continue") {
		t.Fatalf("%q, %v", line, err)
	}
	if _, err := answers.ReadString('\n'); err != nil {
		t.Fatal(err)
	}

	// The handler reads the body now.
	stopped := make(chan struct{})
	go func() { defer close(stopped); stop() }()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		probe, err := net.Dial("tcp", running.Address)
		if err != nil {
			break // nobody listens any more
		}
		probe.Close()
		<-tick.C
	}
	if _, err := io.WriteString(conn, body); err != nil {
		t.Fatal(err)
	}
	answer, err := http.ReadResponse(answers, nil)
	if err != nil || answer.StatusCode != http.StatusCreated {
		t.Fatalf("answer %+v, %v", answer, err)
	}
	<-stopped
	if _, there := documents(t, dir)["late"]; !there {
		t.Error("the order was answered and is not there")
	}
}

// whenWritten does something when something is written.
type whenWritten struct {
	io.Writer
	do func()
}

func (w whenWritten) Write(b []byte) (int, error) {
	w.do()
	return w.Writer.Write(b)
}

// A reconciliation that is interrupted writes its end before the log is closed.
func TestReconciliationInterrupted(t *testing.T) {
	dir := t.TempDir()
	runImport(t, dir)
	ended := func(t *testing.T) {
		t.Helper()
		var stdout, stderr bytes.Buffer
		if status := run(t.Context(), []string{"reconcile", "show", "--data", dir, "--json"}, &stdout, &stderr); status != exitDone {
			t.Fatalf("status %d: %s", status, &stderr)
		}
		var report reconcile.Report
		if err := json.Unmarshal(stdout.Bytes(), &report); err != nil || report.State != "ended" || report.EndedAt == nil {
			t.Errorf("%s, %v", &stdout, err)
		}
		t.Logf("verdict %s", report.Verdict)
	}
	t.Run("by Ctrl-C", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var stderr bytes.Buffer
		status := run(ctx, []string{"reconcile", "run", "--data", dir}, io.Discard, whenWritten{&stderr, cancel})
		if status != exitUnknown || !strings.Contains(stderr.String(), "docket: interrupted, and run ") {
			t.Errorf("status %d: %s", status, &stderr)
		}
		ended(t)
	})
	t.Run("with its server", func(t *testing.T) {
		stop := serve(t, dir)
		running, _, err := readRunFile(dir)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.Post("http://"+running.Address+"/v1/reconciliations", "application/json", strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusAccepted {
			t.Fatal(resp.Status)
		}
		stop()
		ended(t)
	})
}

// An import through a running docket has the same outcome as one into the
// folder, in the same number of events.
func TestImportThroughServer(t *testing.T) {
	inside, outside := t.TempDir(), t.TempDir()
	runImport(t, inside)
	stop := serve(t, outside)
	out, err := exec.Command("docket", "import", "online-retail", "--file", excerpt, "--data", outside, "--json").Output()
	if err != nil {
		t.Fatal(err)
	}
	var report struct{ Orders, Made, RefusedCount int }
	if err := json.Unmarshal(out, &report); err != nil || report.Made == 0 || report.Made != report.Orders {
		t.Errorf("report %+v, %v", report, err)
	}
	stop()
	if got, want := head(t, outside), head(t, inside); got != want {
		t.Errorf("%d events instead of %d", got, want)
	}
	if got, want := documents(t, outside), documents(t, inside); !reflect.DeepEqual(got, want) {
		t.Errorf("%d documents differ from %d", len(got), len(want))
	}
	// And into the folder once more, where they came through the server.
	runImport(t, outside)
	if got, want := head(t, outside), head(t, inside); got != want {
		t.Errorf("after a second import: %d events instead of %d", got, want)
	}
}
