package redis

import (
	"crypto/sha1"
	"embed"
	"encoding/hex"
)

//go:embed lua
var lua embed.FS

// script is one Lua call. Each compares what is kept with what its caller has
// seen, and writes everything or nothing: to repeat it is harmless.
type script struct{ source, sha string }

// scripts of a Backend. How many keys they take and what they answer stands in
// the files.
type scripts struct {
	put, enrol, heads, customer, page, days        script
	bucket, customers, correct, mark, unmark, here script
	claim, beat, settle, registry                  script
}

func loadScripts() *scripts {
	read := func(name string) string {
		text, err := lua.ReadFile("lua/" + name + ".lua")
		if err != nil {
			panic(err) // it is in the program
		}
		return string(text)
	}
	load := func(names ...string) script {
		source := ""
		for _, name := range names {
			source += read(name)
		}
		sum := sha1.Sum([]byte(source))
		return script{source, hex.EncodeToString(sum[:])}
	}
	of := func(name string) script { return load("prelude", name) }
	return &scripts{
		put: of("put"), enrol: of("enrol"), heads: of("heads"), customer: of("customer"), page: of("page"), days: of("days"),
		bucket: of("bucket"), customers: of("customers"), correct: of("correct"), mark: of("mark"), unmark: of("unmark"), here: of("here"),
		claim: load("prelude", "control", "claim"), beat: load("prelude", "control", "beat"), settle: load("prelude", "control", "settle"),
		registry: load("registry"),
	}
}
