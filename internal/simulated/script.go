package simulated

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"unicode/utf8"
)

// Script is one call as a caller plays it.
type Script struct {
	CallID   string
	To, From string   // where the script says so
	Turns    []string // the caller's words
}

// ReadScript reads JSON Lines of {"call_id","turns":[{"role","text"}]}; a
// trailing #call_id picks one call. Turns of the agent are ignored.
func ReadScript(path string) ([]Script, error) {
	path, pick, _ := strings.Cut(path, "#")
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("script: %w", err)
	}
	return ParseScript(raw, pick)
}

// ParseScript is ReadScript of bytes; pick empty means every call.
func ParseScript(raw []byte, pick string) (out []Script, err error) {
	n := 0
	for line := range bytes.Lines(raw) {
		n++
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		if !utf8.Valid(line) {
			return nil, fmt.Errorf("script line %d: is not UTF-8", n)
		}
		var s struct {
			CallID string `json:"call_id"`
			To     string `json:"to"`
			From   string `json:"from"`
			Turns  []struct {
				Role string `json:"role"`
				Text string `json:"text"`
			} `json:"turns"`
		}
		if err := json.Unmarshal(line, &s); err != nil {
			return nil, fmt.Errorf("script line %d: %w", n, err)
		}
		if pick != "" && s.CallID != pick {
			continue
		}
		c := Script{CallID: s.CallID, To: s.To, From: s.From}
		for i, t := range s.Turns {
			switch t.Role {
			case "caller":
				if strings.TrimSpace(t.Text) != "" {
					c.Turns = append(c.Turns, t.Text)
				}
			case "agent":
			default:
				return nil, fmt.Errorf("script line %d: turn %d: role is %q; want caller or agent", n, i+1, t.Role)
			}
		}
		out = append(out, c)
	}
	if len(out) == 0 {
		if pick != "" {
			return nil, fmt.Errorf("script: there is no call %q", pick)
		}
		return nil, fmt.Errorf("script: there is no call in it")
	}
	return out, nil
}
