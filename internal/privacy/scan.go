package privacy

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Scanned is what a look through the files of a directory came to.
type Scanned struct {
	Files int   `json:"files"`
	Bytes int64 `json:"bytes"`
	Words int   `json:"words"`
	Found []Hit `json:"found"` // empty: none of the words is there
}

// Hit is a file that holds one of the words. It does not repeat the word.
type Hit struct {
	File string `json:"file"` // below the directory
	Word int    `json:"word"` // which of those given, from 1
}

// forms are the ways in which a word may lie in a file: as it is, in JSON, in a
// URL or header, and as base64 from any of three places, all in lower case, as
// a search index has words too. Of a phone number also its digits alone.
func forms(word string) (out [][]byte) {
	all := []string{word, strings.Trim(quoted(word), `"`), url.QueryEscape(word), url.PathEscape(word)}
	if digits := strings.TrimPrefix(word, "+"); digits != word && len(digits) > 6 {
		all = append(all, digits)
	}
	if ascii, err := json.Marshal(word); err == nil {
		all = append(all, asciiOnly(string(ascii)))
	}
	seen := map[string]bool{"": true}
	for _, s := range all {
		if s = strings.ToLower(s); !seen[s] {
			seen[s] = true
			out = append(out, []byte(s))
		}
	}
	for shift := range 3 {
		// The first and last characters depend on what lies beside the word.
		enc := base64.RawStdEncoding.EncodeToString(append(make([]byte, shift), word...))
		if from, to := (shift*8+5)/6, len(enc)-1; to-from >= 8 {
			out = append(out, []byte(strings.ToLower(enc[from:to])))
		}
	}
	return out
}

// asciiOnly writes what is beyond ASCII in a JSON text as \u escapes.
func asciiOnly(s string) string {
	var b strings.Builder
	for _, r := range strings.Trim(s, `"`) {
		if r < 0x80 {
			b.WriteRune(r)
		} else {
			b.WriteString(strings.Trim(strings.ToLower(quotedRune(r)), `"`))
		}
	}
	return b.String()
}

func quotedRune(r rune) string {
	const digits = "0123456789abcdef"
	if r > 0xffff {
		return string(r)
	}
	return `\u` + string([]byte{digits[r>>12&15], digits[r>>8&15], digits[r>>4&15], digits[r&15]})
}

// Scan looks for words in every file below a directory. Files that go away
// while it looks hold nothing.
func Scan(ctx context.Context, dir string, words []string) (s Scanned, err error) {
	s = Scanned{Words: len(words), Found: []Hit{}}
	var all [][]byte
	var of []int
	for i, w := range words {
		for _, f := range forms(w) {
			all, of = append(all, f), append(of, i+1)
		}
	}
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case err != nil:
			return err
		case ctx.Err() != nil:
			return ctx.Err()
		case !d.Type().IsRegular():
			return nil
		}
		found, n, err := scanFile(path, all)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		} else if err != nil {
			return err
		}
		s.Files++
		s.Bytes += n
		rel, err := filepath.Rel(dir, path)
		for _, i := range found {
			if hit := (Hit{rel, of[i]}); !slices.Contains(s.Found, hit) {
				s.Found = append(s.Found, hit)
			}
		}
		return err
	})
	return s, err
}

// scanFile names which of some forms, in lower case, a file holds.
func scanFile(path string, all [][]byte) (found []int, size int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	longest := 0
	for _, form := range all {
		longest = max(longest, len(form))
	}
	seen := make([]bool, len(all))
	buf, left := make([]byte, 1<<20+longest), 0
	for {
		n, err := f.Read(buf[left:])
		size += int64(n)
		chunk := buf[:left+n]
		lower(chunk[left:])
		for i, form := range all {
			if !seen[i] && bytes.Contains(chunk, form) {
				seen[i] = true
				found = append(found, i)
			}
		}
		if errors.Is(err, io.EOF) {
			return found, size, nil
		} else if err != nil {
			return nil, 0, err
		}
		left = copy(buf, chunk[max(0, len(chunk)-longest):])
	}
}

// lower is bytes.ToLower for ASCII, in place: files are no texts.
func lower(b []byte) {
	for i, c := range b {
		if c >= 'A' && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
}
