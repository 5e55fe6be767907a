package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"

	"github.com/alecthomas/kong"
)

// configFile is the values of flags in the file --config, by name of the flag.
// A file may serve several commands: what the one that runs does not know is
// passed over, what none knows is refused.
type configFile map[string]any

func readConfig(r io.Reader) (kong.Resolver, error) {
	in := json.NewDecoder(r)
	in.UseNumber() // large ones stay whole
	var file configFile
	if err := in.Decode(&file); err != nil {
		return nil, fmt.Errorf("--config: want a JSON object of flags: %w", err)
	}
	if _, err := in.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("--config: something follows the JSON object")
	}
	for _, name := range slices.Sorted(maps.Keys(file)) {
		switch file[name].(type) {
		case string, json.Number, bool:
		default:
			return nil, fmt.Errorf("--config: %s: want text, a number, true or false", name)
		}
	}
	return file, nil
}

// Validate implements kong.Resolver.
func (f configFile) Validate(app *kong.Application) error {
	known := map[string]bool{}
	err := kong.Visit(app, func(node kong.Visitable, next kong.Next) error {
		if flag, ok := node.(*kong.Flag); ok {
			known[fileName(flag)] = true
		}
		return next(nil)
	})
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(f)) {
		if !known[name] || name == "config" {
			return fmt.Errorf("--config: there is no flag --%s", name)
		}
	}
	return nil
}

// fileName is how a file names a flag. Where two commands have flags of one name
// that mean different things, that of one has an alias, which the file goes by:
// eventstore serve does not listen where serve does.
func fileName(flag *kong.Flag) string {
	if len(flag.Aliases) > 0 {
		return flag.Aliases[0]
	}
	return flag.Name
}

// Resolve implements kong.Resolver. What the command line says, kong does not
// ask for.
func (f configFile) Resolve(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	for _, name := range flag.Envs {
		if _, set := os.LookupEnv(name); set {
			return nil, nil
		}
	}
	value, ok := f[fileName(flag)]
	if !ok {
		return nil, nil
	}
	return fmt.Sprint(value), nil
}
