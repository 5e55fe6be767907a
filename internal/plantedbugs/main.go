// Command plantedbugs shows that the tests can fail: it plants each bug of its
// table into the product, one at a time, and wants a test to fail that passes
// without it.
//
//	go run ./internal/plantedbugs [-only WORD,...]
//
// A bug is a small patch in bugs/, applied to copies of the files and compiled
// with go test -overlay; the product has no hook for it. A patch that no longer
// applies, a bug that does not compile and a bug that no test notices end the
// command with status 1. bugs.go is the table: which tests should notice which
// bug; patch.go reads and applies patches, run.go runs tests.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	only := flag.String("only", "", "plant only bugs whose patch has one of these `words` in its name")
	flag.Parse()
	if flag.NArg() > 0 {
		flag.Usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ok, err := run(ctx, strings.Split(*only, ","))
	if err != nil {
		fmt.Fprintln(os.Stderr, "plantedbugs:", err)
	}
	if err != nil || !ok {
		os.Exit(1)
	}
}

// run plants the bugs and prints the table; ok: each was caught.
func run(ctx context.Context, only []string) (ok bool, err error) {
	began := time.Now()
	root, err := moduleRoot()
	if err != nil {
		return false, err
	}
	var planted []plantedBug
	for _, b := range bugs {
		if !slices.ContainsFunc(only, func(word string) bool { return strings.Contains(b.patch, word) }) {
			continue
		}
		p, err := readPatch(filepath.Join(root, patchFolder, b.patch+".patch"))
		if err != nil {
			return false, err
		}
		if _, err := p.apply(root); err != nil {
			return false, err
		}
		planted = append(planted, plantedBug{b, p})
	}
	if len(planted) == 0 {
		return false, fmt.Errorf("no patch has %s in its name; they are in internal/plantedbugs/bugs", strings.Join(only, " or "))
	}
	fmt.Printf("%d bugs; first the same tests without them\n", len(planted))
	healthy, err := withoutBugs(ctx, root, planted)
	if err != nil {
		return false, err
	}
	fmt.Printf("they pass, after %.0f s\n\n%-66s %7s  %s\n", time.Since(began).Seconds(), "bug", "seconds", "caught by")
	caught := 0
	for _, b := range planted {
		by, took, err := b.plant(ctx, root, healthy[b.pkg])
		if ctx.Err() != nil {
			return false, ctx.Err()
		}
		if err != nil {
			fmt.Printf("%-66s %7.1f  NOT CAUGHT: %v\n", b.change.title, took.Seconds(), err)
			continue
		}
		caught++
		fmt.Printf("%-66s %7.1f  %s %s\n", b.change.title, took.Seconds(), strings.TrimPrefix(b.pkg, "./"), by)
	}
	fmt.Printf("\n%d of %d caught, in %.0f s\n", caught, len(planted), time.Since(began).Seconds())
	return caught == len(planted), nil
}

type plantedBug struct {
	bug
	change patch
}

// withoutBugs runs all the tests of the bugs on the tree as it is, package by
// package, and answers which passed. A test that fails already could not notice
// anything.
func withoutBugs(ctx context.Context, root string, planted []plantedBug) (map[string][]string, error) {
	byPackage := map[string]tests{}
	for _, b := range planted {
		t, ok := byPackage[b.pkg]
		if !ok {
			t = b.tests
		} else if !slices.Contains(strings.Split(t.pattern, "|"), b.pattern) {
			t.pattern += "|" + b.pattern
		}
		byPackage[b.pkg] = t
	}
	passed := map[string][]string{}
	for pkg, t := range byPackage {
		o, err := t.run(ctx, root, "")
		if err != nil {
			return nil, err
		}
		if len(o.failed) > 0 || !o.built || len(o.passed) == 0 {
			return nil, fmt.Errorf("without any bug, tests of %s fail: %v\n%s", pkg, o.failed, o.output)
		}
		passed[pkg] = o.passed
	}
	return passed, nil
}

// plant runs the tests of a bug with the bug in the product, and answers which
// of the healthy ones fail.
func (b plantedBug) plant(ctx context.Context, root string, healthy []string) (by string, took time.Duration, err error) {
	dir, err := os.MkdirTemp("", "docket-plantedbug-")
	if err != nil {
		return "", 0, err
	}
	defer os.RemoveAll(dir)
	overlay, err := b.change.overlay(root, dir)
	if err != nil {
		return "", 0, err
	}
	o, err := b.run(ctx, root, overlay)
	if err != nil {
		return "", o.took, err
	}
	failed := slices.DeleteFunc(leaves(o.failed), func(name string) bool { return !slices.Contains(healthy, name) })
	switch {
	case !o.built:
		return "", o.took, fmt.Errorf("it does not compile:\n%s", o.output)
	case o.hung && !b.hangs:
		return "", o.took, fmt.Errorf("%v hangs, which is no answer", failed)
	case len(failed) == 0:
		return "", o.took, fmt.Errorf("no test of %s %s fails", b.pkg, b.pattern)
	}
	by = failed[0]
	if len(failed) > 1 {
		by = fmt.Sprintf("%s and %d more", by, len(failed)-1)
	}
	return by, o.took, nil
}

// moduleRoot is the folder of go.mod, here or above.
func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	for err == nil {
		if _, missing := os.Stat(filepath.Join(dir, "go.mod")); missing == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("there is no go.mod here or above")
		}
		dir = filepath.Dir(dir)
	}
	return "", err
}
