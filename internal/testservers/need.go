package testservers

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
)

// installer is install.sh with what it installs: the first test that misses
// something runs it.
//
//go:embed install.sh elasticsearch
var installer embed.FS

// Need has the programs that a test asks for installed.
func Need(t TB, programs ...string) {
	t.Helper()
	for _, p := range programs {
		if _, err := exec.LookPath(p); err == nil {
			continue
		}
		install(t)
		if _, err := exec.LookPath(p); err != nil {
			t.Fatalf("%v, after internal/testservers/install.sh", err)
		}
	}
}

// needElasticsearch returns the folder that Elasticsearch is installed in.
func needElasticsearch(t TB) string {
	t.Helper()
	Need(t, "java")
	cache, err := cacheFolder()
	if err != nil {
		t.Fatalf("%v", err)
	}
	dir := filepath.Join(cache, elasticsearchName())
	if _, err := os.Stat(dir); err != nil {
		install(t)
	}
	return dir
}

// elasticsearchName is that of the folder, as install.sh makes it.
func elasticsearchName() string {
	all := sha256.New()
	for _, name := range []string{"elasticsearch/pom.xml", "elasticsearch/Launcher.java", "install.sh"} {
		f, err := installer.Open(name)
		if err == nil {
			_, err = io.Copy(all, f)
		}
		if err != nil {
			panic(err) // it is part of the program
		}
	}
	return "elasticsearch-" + hex.EncodeToString(all.Sum(nil))[:12]
}

// install runs the script from a copy: the program may run where its source is
// not.
func install(t TB) {
	t.Helper()
	dir, err := os.MkdirTemp("", "docket-install-")
	if err != nil {
		t.Fatalf("%v", err)
	}
	defer os.RemoveAll(dir)
	if err := os.CopyFS(dir, installer); err != nil {
		t.Fatalf("%v", err)
	}
	if out, err := exec.Command("bash", filepath.Join(dir, "install.sh")).CombinedOutput(); err != nil {
		t.Fatalf("install what the tests need (internal/testservers/install.sh): %v\n%s", err, fmt.Sprintf("%.4000s", out))
	}
}
