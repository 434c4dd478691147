package bus

import (
	"errors"
	"strings"
	"unicode"
	"unicode/utf8"
)

const hexDigits = "0123456789ABCDEF"

// plain reports whether c stands for itself in an attribute's value.
func plain(c byte) bool { return c > 0x20 && c < 0x7f && c != '"' && c != '%' }

// percentEncode writes s so that it survives any header: UTF-8 bytes outside
// U+0021 to U+007E, the quote and the percent sign as %XX.
func percentEncode(s string) string {
	n := 0
	for i := range len(s) {
		if !plain(s[i]) {
			n++
		}
	}
	if n == 0 {
		return s
	}
	b := make([]byte, 0, len(s)+2*n)
	for i := range len(s) {
		if c := s[i]; plain(c) {
			b = append(b, c)
		} else {
			b = append(b, '%', hexDigits[c>>4], hexDigits[c&15])
		}
	}
	return string(b)
}

// percentDecode is the inverse of percentEncode. Other writers leave bytes
// plain that it encodes; those are kept. The result is valid UTF-8.
func percentDecode(s string) (string, error) {
	if strings.IndexByte(s, '%') >= 0 {
		b := make([]byte, 0, len(s))
		for i := 0; i < len(s); i++ {
			if s[i] != '%' {
				b = append(b, s[i])
				continue
			}
			if i+2 >= len(s) {
				return "", errors.New("cut short")
			}
			hi, lo := unhex(s[i+1]), unhex(s[i+2])
			if hi < 0 || lo < 0 {
				return "", errors.New("not hexadecimal")
			}
			b = append(b, byte(hi<<4|lo))
			i += 2
		}
		s = string(b)
	}
	if !utf8.ValidString(s) {
		return "", errors.New("not UTF-8")
	}
	return s, nil
}

func unhex(c byte) int {
	switch {
	case c >= '0' && c <= '9':
		return int(c - '0')
	case c >= 'a' && c <= 'f':
		return int(c-'a') + 10
	case c >= 'A' && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

// hasControl reports whether s holds what no attribute may: control
// characters, or bytes that are not UTF-8.
func hasControl(s string) bool {
	return !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl)
}
