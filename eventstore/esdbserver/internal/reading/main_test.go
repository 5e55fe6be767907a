package reading_test

import (
	"testing"

	"go.uber.org/goleak"
)

// TestMain: when all servers and clients are closed, nobody follows any more.
// The clock of regexp2 runs on for a second after the last match.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/dlclark/regexp2.runClock"))
}
