package ingress

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"neurosphere.ai/neurosphere/events"
)

// A pass is the opaque parameter that names a call between its webhook and its
// socket. The handshake's signature covers a constant URL and could be
// replayed; the pass ties a socket to one call of one tenant, in any ingress
// that shares the auth token.
type passes struct{ key []byte }

const passAge = 4 * time.Hour // Twilio's limit on a call

func newPasses(authToken string) passes {
	m := hmac.New(sha256.New, []byte(authToken))
	m.Write([]byte("neurosphere call pass"))
	return passes{key: m.Sum(nil)}
}

func (p passes) issue(t events.Tenant, call string, began time.Time, nth int) string {
	body := strings.Join([]string{t.String(), call, strconv.FormatInt(began.UnixMicro(), 10), strconv.Itoa(nth)}, ".")
	return body + "." + p.mac(body)
}

func (p passes) mac(body string) string {
	m := hmac.New(sha256.New, p.key)
	m.Write([]byte(body))
	return base64.RawURLEncoding.EncodeToString(m.Sum(nil))
}

// A ticket is what a pass says.
type ticket struct {
	tenant events.Tenant
	call   string
	began  time.Time // the webhook that issued it
	nth    int       // 0: the call's first relay
}

var errPass = errors.New("no valid pass")

func (p passes) read(s string, now time.Time) (ticket, error) {
	i := strings.LastIndexByte(s, '.')
	if i < 0 || !hmac.Equal([]byte(s[i+1:]), []byte(p.mac(s[:i]))) {
		return ticket{}, errPass
	}
	part := strings.Split(s[:i], ".")
	if len(part) != 4 {
		return ticket{}, errPass
	}
	t, err := events.ParseTenant(part[0])
	if err != nil {
		return ticket{}, fmt.Errorf("%w: %w", errPass, err)
	}
	micros, err := strconv.ParseInt(part[2], 10, 64)
	if err != nil {
		return ticket{}, errPass
	}
	nth, err := strconv.Atoi(part[3])
	if err != nil {
		return ticket{}, errPass
	}
	began := time.UnixMicro(micros)
	if now.Sub(began) > passAge {
		return ticket{}, fmt.Errorf("%w: too old", errPass)
	}
	return ticket{tenant: t, call: part[1], began: began, nth: nth}, nil
}
