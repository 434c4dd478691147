package memory

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/internal/settings"
)

// CustomerQuery names the tenant in a query. The guard has read it.
type CustomerQuery struct {
	CustomerID int32 `query:"customer_id" required:"true" minimum:"1" doc:"The customer the request is about; the key's own"`
}

// CustomerBody names the tenant in a body. The guard has read it.
type CustomerBody struct {
	CustomerID int32 `json:"customer_id" minimum:"1" doc:"The customer the request is about; the key's own"`
}

// PageQuery asks for a page of a list.
type PageQuery struct {
	Limit  int    `query:"limit" minimum:"1" maximum:"200" default:"50" doc:"How many at most"`
	Cursor string `query:"cursor" maxLength:"1000" doc:"next_cursor of the page before, of the same list"`
}

// UserPath names a caller in a path.
type UserPath struct {
	UserID string `path:"user_id" maxLength:"220" doc:"The caller's number in E.164, as in %2B12065550142; or legacy:… where the old service had none"`
}

// PhonePath names a caller in a path.
type PhonePath struct {
	Phone string `path:"phone" maxLength:"220" doc:"The caller's number in E.164, as in %2B12065550142; or legacy:… where the old service had none"`
}

// caller brings a user_id into E.164, where it is not what the old service had
// instead. A plus sign that was not encoded arrives as a space.
func caller(where, s string) (string, error) {
	if strings.HasPrefix(s, " ") {
		s = "+" + s[1:]
	}
	if northAmerican(s) {
		return s, nil
	}
	n, err := settings.Caller(s)
	if err != nil {
		return "", notNumber(where)
	}
	return n, nil
}

// number is caller for one who calls, which nobody does from a word.
func number(where, s string) (string, error) {
	if strings.HasPrefix(s, events.Legacy) {
		return "", notNumber(where)
	}
	return caller(where, s)
}

func notNumber(where string) failure {
	return invalid(where, "want a phone number with its country, as in +12065550142")
}

// northAmerican reports whether a number is one of that plan in E.164, which
// most are: there is nothing to bring into any form.
func northAmerican(s string) bool {
	if len(s) != len("+12065550142") || s[:2] != "+1" {
		return false
	}
	for _, c := range []byte(s[2:]) {
		if c < '0' || c > '9' {
			return false
		}
	}
	return true
}

// maybeCaller is caller for a parameter that may be left out.
func maybeCaller(where, s string) (string, error) {
	if s == "" {
		return "", nil
	}
	return caller(where, s)
}

// seal makes a cursor of what a page ends with. It is bound to the tenant and
// to the list, of whom and of what that is, and tells nobody anything.
func (s *service) seal(t events.Tenant, list string, v any) (string, error) {
	raw, err := json.Marshal(v)
	if err != nil {
		return "", err
	}
	sealed, err := s.vault.Seal(t, "cursor/"+list, string(raw))
	return base64.RawURLEncoding.EncodeToString(sealed), err
}

func badCursor(where string) failure {
	f := fail(http.StatusBadRequest, "the cursor is not one of this list")
	f.Details = []detail{{where, "want a cursor as it was answered"}}
	return f
}

// open reads a cursor into v; an empty one leaves it as it is and is not there.
func (s *service) open(t events.Tenant, list, cursor string, v any) (there bool, err error) {
	if cursor == "" {
		return false, nil
	}
	bad := badCursor("query.cursor")
	raw, err := base64.RawURLEncoding.DecodeString(cursor)
	if err != nil {
		return false, bad
	}
	text, err := s.vault.Open(t, "cursor/"+list, raw)
	if err != nil || json.Unmarshal([]byte(text), v) != nil {
		return false, bad
	}
	return true, nil
}
