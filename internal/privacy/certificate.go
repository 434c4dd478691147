package privacy

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"neurosphere.ai/neurosphere/events"
)

// CertificateSchema names the form of a Certificate.
const CertificateSchema = "neurosphere.ai/erasure-certificate/v1"

// Certificate says what was erased, and how. It names nobody.
type Certificate struct {
	Schema    string           `json:"schema"`
	ID        string           `json:"id"`
	Tenant    events.Tenant    `json:"customer_id"`
	Kind      string           `json:"kind"`          // caller, call, tenant
	Ref       string           `json:"ref,omitempty"` // keyed hash of the caller's number
	Calls     []string         `json:"calls"`
	By        string           `json:"asked_by"`
	Requested time.Time        `json:"requested_at"`
	Finished  time.Time        `json:"finished_at"`
	Rows      map[string]int64 `json:"rows"`               // by table
	Facts     map[string]int64 `json:"facts"`              // by name
	AtLeast   bool             `json:"at_least,omitempty"` // there may have been more rows and facts: it was stopped before all were counted
	Files     []string         `json:"files"`              // what was done for the bytes to go
	NotDone   []string         `json:"not_done"`
	Verified  *Scanned         `json:"verified,omitempty"`
	Ledger    string           `json:"ledger"` // hash of the ledger's line
	SHA256    string           `json:"sha256"` // of this document as JSON without it
}

// seal fills in the hash.
func (c *Certificate) seal() error {
	sum, err := c.hash()
	c.SHA256 = sum
	return err
}

func (c Certificate) hash() (string, error) {
	c.SHA256 = ""
	raw, err := json.Marshal(c)
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:]), err
}

// Genuine reports whether nothing of the certificate was changed since.
func (c Certificate) Genuine() bool {
	sum, err := c.hash()
	return err == nil && sum == c.SHA256
}

// Text is the certificate for people to read.
func (c Certificate) Text(w io.Writer) {
	fmt.Fprintf(w, "Certificate of erasure %s\n\n", c.ID)
	fmt.Fprintf(w, "  of            %s of customer %s\n", c.Kind, c.Tenant)
	if c.Ref != "" {
		fmt.Fprintf(w, "  known as      %s (keyed hash)\n", c.Ref)
	}
	fmt.Fprintf(w, "  asked for by  %s, %s\n  finished      %s\n", c.By, c.Requested.Format(time.RFC3339), c.Finished.Format(time.RFC3339))
	counts(w, c.least(), "rows", c.Rows)
	counts(w, c.least(), "facts of the log", c.Facts)
	if c.AtLeast {
		fmt.Fprintln(w, "\n  It was stopped once while something was removed. All of it is gone, but not all of it was counted.")
	}
	if len(c.Calls) > 0 {
		fmt.Fprintf(w, "\n  calls: %s\n", strings.Join(c.Calls, " "))
	}
	list(w, "so that the bytes are gone from the files", c.Files)
	list(w, "left to do", c.NotDone)
	if v := c.Verified; v != nil {
		fmt.Fprintf(w, "\n  looked for %d words in %d files of %d bytes: found %d times\n", v.Words, v.Files, v.Bytes, len(v.Found))
		for _, h := range v.Found {
			fmt.Fprintf(w, "    word %d in %s\n", h.Word, h.File)
		}
	}
	fmt.Fprintf(w, "\n  ledger  %s\n  sha256  %s\n", c.Ledger, c.SHA256)
}

// least is said before a number that may be too low.
func (c Certificate) least() string {
	if c.AtLeast {
		return "at least "
	}
	return ""
}

func counts(w io.Writer, least, what string, m map[string]int64) {
	var sum int64
	for _, n := range m {
		sum += n
	}
	fmt.Fprintf(w, "\n  %s%d %s\n", least, sum, what)
	for _, name := range slices.Sorted(maps.Keys(m)) {
		fmt.Fprintf(w, "    %-28s %d\n", name, m[name])
	}
}

func list(w io.Writer, what string, all []string) {
	if len(all) == 0 {
		return
	}
	fmt.Fprintf(w, "\n  %s:\n", what)
	for _, s := range all {
		fmt.Fprintf(w, "    %s\n", s)
	}
}

// Housekeeper makes bytes that were deleted go from files of the database. It
// tells each step; what it returns beside is left for people to do.
type Housekeeper func(ctx context.Context, told func(step string)) (left []string, err error)
