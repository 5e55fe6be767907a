package httpapi

import (
	"fmt"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Limits bound what callers can take of the server: time, memory, connections,
// turns. The zero value of a limit is its default. The tags are names, defaults
// and meanings as the command line and docs/limits.md show them; a limit of
// another package is a constant there, and listed in docs/limits.md.
type Limits struct {
	Connections int           `default:"4096" env:"CONNECTIONS" help:"Open connections. For one more the one that is idle longest is closed; when none is idle, the new one."`
	HeaderTime  time.Duration `default:"10s" env:"HEADER_TIME" help:"Time in which the header of a request arrives; then the connection is closed."`
	HeaderBytes int           `default:"65536" env:"HEADER_BYTES" help:"Bytes of the request line and the header; more: 431."`
	HeaderNames int           `default:"100" env:"HEADER_NAMES" help:"Different names in a header; more: 431."`
	URLBytes    int           `default:"16384" env:"URL_BYTES" help:"Bytes of path and query string; more: 414."`
	BodyTime    time.Duration `default:"30s" env:"BODY_TIME" help:"Time in which the body of a request arrives; then 400, or the connection is closed."`
	BodyBytes   int64         `default:"1048576" env:"BODY_BYTES" help:"Bytes of a body; more: 413."`
	AnswerTime  time.Duration `default:"2m" env:"ANSWER_TIME" help:"Time from the header of a request to the end of its answer; then the connection is closed."`
	IdleTime    time.Duration `default:"2m" env:"IDLE_TIME" help:"Time a connection waits for its next request."`

	Commands      int           `default:"128" env:"COMMANDS" help:"Commands handled at once."`
	Reads         int           `default:"64" env:"READS" help:"Questions about one order or customer answered at once."`
	Searches      int           `default:"6" env:"SEARCHES" help:"Lists and sums answered at once; fewer than the 8 readers of the views, so that reads go on."`
	Waits         int           `default:"1024" env:"WAITS" help:"Requests at once that may wait for something (Prefer: wait)."`
	Adoptions     int           `default:"8" env:"ADOPTIONS" help:"Streams of adoptions at once."`
	Queue         int           `default:"512" env:"QUEUE" help:"Requests of each of these kinds, adoptions and waits left out, that wait for their turn; more: 503."`
	QueueTime     time.Duration `default:"1s" env:"QUEUE_TIME" help:"Time a request waits for its turn; then 503."`
	CallerPercent int           `default:"50" env:"CALLER_PERCENT" help:"Percent of the places of a kind, queue included, that one caller may have where several API keys are given; more: 429."`
	HeldBytes     int64         `default:"268435456" env:"HELD_BYTES" help:"Bytes of all bodies and large answers held at once; more: 503."`

	CommandTime time.Duration `default:"30s" env:"COMMAND_TIME" help:"Time in which a command is done; then 503, of known outcome or not."`
	ReadTime    time.Duration `default:"1m" env:"READ_TIME" help:"Time in which a question is answered, waiting included; then 503."`
	WaitTime    time.Duration `default:"30s" env:"WAIT_TIME" help:"Longest that Prefer: wait may ask for; longer ones wait so long."`

	AdoptionLineBytes int           `default:"4194304" env:"ADOPTION_LINE_BYTES" help:"Bytes of one line of an adoption; a longer one is refused."`
	AdoptionBytes     int64         `default:"16777216" env:"ADOPTION_BYTES" help:"Bytes of lines of one stream of adoptions that are read and not answered; then reading waits."`
	AdoptionWorkers   int           `default:"16" env:"ADOPTION_WORKERS" help:"Orders of one stream adopted at once."`
	AdoptionIdle      time.Duration `default:"1m" env:"ADOPTION_IDLE" help:"Time in which the next line arrives, or the answer to one is taken; then the stream is broken off."`

	ShutdownTime time.Duration `default:"20s" env:"SHUTDOWN_TIME" help:"Time for what was accepted when docket is stopped; then it is cut off."`
}

// OrDefaults is l with every zero limit at its default.
func (l Limits) OrDefaults() Limits {
	v := reflect.ValueOf(&l).Elem()
	for i := range v.NumField() {
		if f := v.Field(i); f.IsZero() {
			f.SetInt(parseLimit(v.Type().Field(i)))
		}
	}
	return l
}

// LimitName is the name of a field of Limits as people write it: body-bytes.
func LimitName(field string) string {
	return strings.ToLower(boundaries.ReplaceAllString(field, "$1$3-$2$4"))
}

var boundaries = regexp.MustCompile(`([a-z])([A-Z])|([A-Z])([A-Z][a-z])`)

// Validate refuses limits that no server can work with, by name. Zero is the
// default.
func (l Limits) Validate() error {
	v := reflect.ValueOf(l)
	for i := range v.NumField() {
		if v.Field(i).Int() < 0 {
			return fmt.Errorf("%s: %v is below nothing", LimitName(v.Type().Field(i).Name), v.Field(i))
		}
		if v.Field(i).Kind() == reflect.Int && v.Field(i).Int() > mostOf {
			return fmt.Errorf("%s: %v is more than %d", LimitName(v.Type().Field(i).Name), v.Field(i), mostOf)
		}
	}
	l = l.OrDefaults()
	switch {
	case l.AdoptionWorkers > 1024:
		return fmt.Errorf("adoption-workers: %d is more than 1024", l.AdoptionWorkers)
	case l.CallerPercent > 100:
		return fmt.Errorf("caller-percent: %d is more than all", l.CallerPercent)
	case l.AnswerTime <= l.ReadTime || l.AnswerTime <= l.CommandTime+l.BodyTime:
		return fmt.Errorf("answer-time: %s leaves no time to answer after read-time (%s), or body-time and command-time (%s)", l.AnswerTime, l.ReadTime, l.BodyTime+l.CommandTime)
	case l.ReadTime <= l.WaitTime:
		return fmt.Errorf("read-time: %s leaves no time to read after wait-time (%s)", l.ReadTime, l.WaitTime)
	case l.HeldBytes < l.BodyBytes:
		return fmt.Errorf("held-bytes: %d does not hold one body (%d)", l.HeldBytes, l.BodyBytes)
	case l.AdoptionBytes < int64(l.AdoptionLineBytes):
		return fmt.Errorf("adoption-bytes: %d does not hold one line (%d)", l.AdoptionBytes, l.AdoptionLineBytes)
	}
	return nil
}

// mostOf bounds what is counted, so that sums and shares of it can be computed.
const mostOf = 1 << 30

// parseLimit is the default of a limit.
func parseLimit(f reflect.StructField) int64 {
	text := f.Tag.Get("default")
	if f.Type == reflect.TypeFor[time.Duration]() {
		d, err := time.ParseDuration(text)
		if err != nil {
			panic(fmt.Sprintf("httpapi: default of %s: %v", f.Name, err))
		}
		return int64(d)
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		panic(fmt.Sprintf("httpapi: default of %s: %v", f.Name, err))
	}
	return n
}
