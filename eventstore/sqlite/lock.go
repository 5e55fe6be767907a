package sqlite

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/docket-orders/docket/internal/disk"
)

// lockFolder takes the folder for this process. The lock belongs to the open
// file, so it dies with the process and a stale file never blocks a start.
func lockFolder(d disk.FS, dir string) (disk.File, error) {
	f, err := d.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock event store: %w", err)
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		owner, _ := d.ReadFile(f.Name())
		f.Close()
		return nil, fmt.Errorf("event store %s is already open in process %s", dir, strings.TrimSpace(string(owner)))
	}
	if err == nil {
		err = f.Truncate(0)
	}
	if err == nil {
		_, err = fmt.Fprintf(f, "%d\n", os.Getpid())
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("lock event store: %w", err)
	}
	return f, nil
}
