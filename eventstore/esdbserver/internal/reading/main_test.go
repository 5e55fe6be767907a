package reading_test

import (
	"testing"

	"go.uber.org/goleak"
)

// TestMain: when all servers and clients are closed, nobody follows any more.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }
