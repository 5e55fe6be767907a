package testservers

import (
	"fmt"
	"os"
	"slices"
	"sync"
)

// TB is who asks for a server: a test (testing.TB), or a program (Program).
type TB interface {
	Helper()
	Name() string
	Logf(format string, args ...any)
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
	Cleanup(func())
}

// Program asks for servers in a program that is no test. Its owner calls Close
// at the end; when the program dies before, its own servers die with it.
type Program struct {
	name string

	mu       sync.Mutex
	cleanups []func()
}

// NewProgram takes the name that messages carry.
func NewProgram(name string) *Program { return &Program{name: name} }

// Helper does nothing.
func (p *Program) Helper() {}

// Name implements TB.
func (p *Program) Name() string { return p.name }

// Logf and Errorf write to standard error.
func (p *Program) Logf(format string, args ...any) {
	fmt.Fprintf(os.Stderr, p.name+": "+format+"\n", args...)
}

// Errorf implements TB.
func (p *Program) Errorf(format string, args ...any) { p.Logf(format, args...) }

// Fatalf cleans up and ends the program.
func (p *Program) Fatalf(format string, args ...any) {
	p.Logf(format, args...)
	p.Close()
	os.Exit(1)
}

// Cleanup keeps f for Close.
func (p *Program) Cleanup(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cleanups = append(p.cleanups, f)
}

// Close ends what was started, the last first.
func (p *Program) Close() {
	p.mu.Lock()
	cleanups := p.cleanups
	p.cleanups = nil
	p.mu.Unlock()
	for _, f := range slices.Backward(cleanups) {
		f()
	}
}
