package disk

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// Lock takes a data folder for this process until the file is closed. It fails,
// naming the owner, while another process has it. The lock belongs to the open
// file, so it dies with the process and a stale file never blocks a start.
func Lock(d FS, dir string) (File, error) {
	f, err := d.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock folder: %w", err)
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		owner, _ := d.ReadFile(f.Name())
		f.Close()
		return nil, fmt.Errorf("the folder %s is already open in process %s", dir, strings.TrimSpace(string(owner)))
	}
	if err == nil {
		err = f.Truncate(0)
	}
	if err == nil {
		_, err = fmt.Fprintf(f, "%d\n", os.Getpid())
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("lock folder: %w", err)
	}
	return f, nil
}
