package store

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

func readSocketDir(dir string) string {
	if socket, ok := noted(dir, "socket-dir"); ok {
		return socket
	}
	return filepath.Join(dir, "run")
}

// note writes a path down in a folder, and which folder that is.
func note(dir, name, path string) error {
	return os.WriteFile(filepath.Join(dir, name), []byte(path+"\n"+dir+"\n"), 0o600)
}

// noted reads a path that was written down in a folder. In a copy of it, as a
// backup that was restored beside the original, nothing was: what the path leads
// to is the original's.
func noted(dir, name string) (path string, ok bool) {
	raw, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return "", false
	}
	path, in, ok := strings.Cut(strings.TrimSuffix(string(raw), "\n"), "\n")
	if !ok {
		return "", false
	}
	there, err := os.Stat(in)
	if err != nil {
		return "", false
	}
	here, err := os.Stat(dir)
	return path, err == nil && os.SameFile(here, there)
}

// lockDir makes p the only one of all processes that works in the folder.
func (p *Private) lockDir() error {
	f, err := os.OpenFile(filepath.Join(p.dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = f.Close()
		return fmt.Errorf("%w in %s", ErrPrivateInUse, p.dir)
	}
	p.lock = f
	return nil
}

// unlock lets the next process have the folder. It may be called again.
func (p *Private) unlock() {
	if p.lock == nil {
		return
	}
	if p.foreign() {
		_ = os.RemoveAll(p.socket)
	}
	_ = p.lock.Close()
	p.lock = nil
}

// prepare locks the folder and makes the one for the socket.
func (p *Private) prepare(as *syscall.Credential) error {
	if err := p.lockDir(); err != nil {
		return err
	}
	p.socket = readSocketDir(p.dir)
	if p.foreign() {
		_ = os.RemoveAll(p.socket) // of a process that was killed
	}
	p.socket = filepath.Join(p.dir, "run")
	if !usable(p.socket) {
		temp := os.TempDir()
		if !usable(temp + "/nspg0123456789") {
			temp = "/tmp"
		}
		var err error
		if p.socket, err = os.MkdirTemp(temp, "nspg"); err != nil {
			return err
		}
	}
	if err := note(p.dir, "socket-dir", p.socket); err != nil {
		return err
	}
	return ownDir(p.socket, as)
}

// foreign reports whether the socket's folder is one made for it alone.
func (p *Private) foreign() bool {
	return strings.HasPrefix(filepath.Base(p.socket), "nspg") && filepath.Dir(p.socket) != p.dir
}

// usable reports whether dir can hold the socket: its whole path is at most
// 103 bytes, and the list of such folders and connection strings take some
// characters, such as space and comma, for their own.
func usable(dir string) bool {
	return len(dir)+len("/.s.PGSQL.5432.lock") <= 103 && !strings.ContainsFunc(dir, func(r rune) bool {
		plain := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/._-", r)
		return !plain
	})
}

// ownDir makes dir, which only the server's user may enter.
func ownDir(dir string, as *syscall.Credential) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if as == nil {
		return nil
	}
	return os.Chown(dir, int(as.Uid), int(as.Gid))
}

// making is a new folder to make a cluster in, and the end of those that were
// never done.
func (p *Private) making(as *syscall.Credential) (string, error) {
	left, _ := filepath.Glob(filepath.Join(glob(p.dir), "making-*"))
	for _, dir := range left {
		_ = os.RemoveAll(dir)
	}
	dir, err := os.MkdirTemp(p.dir, "making-")
	if err != nil {
		return "", err
	}
	return dir, ownDir(dir, as)
}

// glob is a pattern for path alone.
func glob(path string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}

// syncDir makes what was renamed in dir last.
func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

// elsewhere is the file that says where the cluster of a folder really is.
const elsewhere = "elsewhere"

// reachable is dir, or, where the server's user cannot enter it (root's home),
// a folder it can, which is the same one every time.
func reachable(dir string, as *syscall.Credential) (string, error) {
	if err := os.MkdirAll(dir, 0o711); err != nil { //nolint:gosec // the server, another user, has to pass through
		return "", err
	}
	if as == nil || traversable(dir, as) {
		return dir, nil
	}
	sum := sha256.Sum256([]byte(dir))
	other := filepath.Join("/var/tmp", "neurosphere-"+hex.EncodeToString(sum[:6]))
	if err := os.Mkdir(other, 0o711); err != nil && !errors.Is(err, fs.ErrExist) { //nolint:gosec // as above
		return "", err
	}
	info, err := os.Lstat(other)
	if err != nil {
		return "", err
	}
	if st, ok := info.Sys().(*syscall.Stat_t); !ok || st.Uid != 0 || !info.IsDir() {
		return "", fmt.Errorf("%s is not ours: choose another DATA_DIR", other)
	}
	return other, note(dir, elsewhere, other)
}

// traversable reports whether as can enter dir and every folder above it, and
// opens those that are ours alone to make.
func traversable(dir string, as *syscall.Credential) bool {
	for d := dir; ; d = filepath.Dir(d) {
		info, err := os.Stat(d)
		if err != nil {
			return false
		}
		st, ok := info.Sys().(*syscall.Stat_t)
		own := ok && (st.Uid == as.Uid && info.Mode()&0o100 != 0 || st.Gid == as.Gid && info.Mode()&0o010 != 0)
		if !own && info.Mode()&0o001 == 0 {
			// Entering is not reading: the folders inside stay closed. Nobody
			// else's folder is opened, and not our home.
			if !ok || st.Uid != 0 || d == "/root" || os.Chmod(d, info.Mode().Perm()|0o001) != nil {
				return false
			}
		}
		if d == filepath.Dir(d) {
			return true
		}
	}
}
