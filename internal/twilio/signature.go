package twilio

import (
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // Twilio's algorithm, not ours to choose
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// SignatureHeader carries the signature of every request Twilio makes.
const SignatureHeader = "X-Twilio-Signature"

// Verifier tells Twilio's requests from anybody else's. It is safe for
// concurrent use; the zero value accepts nothing.
type Verifier struct {
	tokens []string
}

// NewVerifier accepts requests signed with any of tokens: more than one while a
// token is being rotated. Empty tokens are left out, since anybody can sign
// with them.
func NewVerifier(tokens ...string) Verifier {
	kept := slices.DeleteFunc(slices.Clone(tokens), func(t string) bool { return t == "" })
	return Verifier{tokens: kept}
}

// Sign is the signature Twilio puts on a request to target, which is the whole
// URL with its query, and form, the parameters of the body. Nil form: none.
func Sign(token, target string, form url.Values) string {
	return digest(token, target, parameters(form))
}

// Request reports whether r was signed by Twilio. publicURL is the configured
// address Twilio calls us at, without path; what r says of its own host is not
// believed. form holds the parameters of the body alone (r.PostForm) and body
// its bytes: a body that is no form is only accepted with its hash in the query.
func (v Verifier) Request(publicURL string, r *http.Request, form url.Values, body []byte) bool {
	target, ok := signedURL(publicURL, r)
	if !ok {
		return false
	}
	signed, ok := signedParameters(r, form, body)
	if !ok {
		return false
	}
	return v.match(r, candidates(target, false), signed)
}

// Socket reports whether the WebSocket handshake r was signed by Twilio.
// publicURL is as in Request; Twilio signs it with the scheme of a socket.
func (v Verifier) Socket(publicURL string, r *http.Request) bool {
	switch {
	case strings.HasPrefix(publicURL, "https://"):
		publicURL = "wss://" + publicURL[len("https://"):]
	case strings.HasPrefix(publicURL, "http://"):
		publicURL = "ws://" + publicURL[len("http://"):]
	}
	target, ok := signedURL(publicURL, r)
	return ok && v.match(r, candidates(target, true), "")
}

// match compares every candidate under every token, whatever matched before, so
// that the time taken tells nothing.
func (v Verifier) match(r *http.Request, targets []string, parameters string) bool {
	got := r.Header.Values(SignatureHeader)
	if len(got) != 1 {
		return false
	}
	matched := 0
	for _, token := range v.tokens {
		for _, target := range targets {
			matched |= subtle.ConstantTimeCompare([]byte(digest(token, target, parameters)), []byte(got[0]))
		}
	}
	return matched == 1
}

func digest(token, target, parameters string) string {
	mac := hmac.New(sha1.New, []byte(token))
	mac.Write([]byte(target))
	mac.Write([]byte(parameters))
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// parameters joins keys in byte order, each with its distinct values in order.
func parameters(form url.Values) string {
	keys := make([]string, 0, len(form))
	for key := range form {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	var b strings.Builder
	for _, key := range keys {
		values := slices.Clone(form[key])
		slices.Sort(values)
		for _, value := range slices.Compact(values) {
			b.WriteString(key)
			b.WriteString(value)
		}
	}
	return b.String()
}

// signedParameters is what of r beside its URL is signed; false when r carries
// something the signature cannot vouch for.
func signedParameters(r *http.Request, form url.Values, body []byte) (string, bool) {
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		return "", len(body) == 0
	}
	if hashes, hashed := r.URL.Query()["bodySHA256"]; hashed {
		sum := sha256.Sum256(body)
		return "", len(hashes) == 1 &&
			subtle.ConstantTimeCompare([]byte(hex.EncodeToString(sum[:])), []byte(hashes[0])) == 1
	}
	if len(form) == 0 && len(body) > 0 {
		return "", false
	}
	return parameters(form), true
}

// signedURL is the address Twilio was given for r.
func signedURL(publicURL string, r *http.Request) (string, bool) {
	path := r.URL.RequestURI()
	if publicURL == "" || !strings.HasPrefix(path, "/") {
		return "", false
	}
	return strings.TrimSuffix(publicURL, "/") + path, true
}

// candidates lists the forms of target Twilio may have signed: it drops the port
// for calls over HTTPS and keeps it for texts, drops a user and password, and
// some of its servers sign an apostrophe escaped. The path of a socket is
// sometimes signed with a slash more or less.
func candidates(target string, socket bool) []string {
	scheme, rest, ok := strings.Cut(target, "://")
	if !ok {
		return []string{target}
	}
	authority, tail := rest, ""
	if i := strings.IndexAny(rest, "/?"); i >= 0 {
		authority, tail = rest[:i], rest[i:]
	}
	authorities := withAndWithoutPort(scheme, authority)
	if i := strings.LastIndexByte(authority, '@'); i >= 0 {
		authorities = append(authorities, withAndWithoutPort(scheme, authority[i+1:])...)
	}
	tails := []string{tail}
	if socket {
		tails = append(tails, toggleSlash(tail))
	}
	for _, t := range tails {
		path, query, _ := strings.Cut(t, "?")
		for _, q := range []string{escapeQuery(query), strings.ReplaceAll(query, "%27", "'")} {
			if q != query {
				tails = append(tails, path+"?"+q)
			}
		}
	}
	targets := make([]string, 0, len(authorities)*len(tails))
	for _, a := range authorities {
		for _, t := range tails {
			targets = append(targets, scheme+"://"+a+t)
		}
	}
	return targets
}

func withAndWithoutPort(scheme, authority string) []string {
	// The colons of an IPv6 address stand inside brackets, those of a password
	// before the @.
	from := strings.LastIndexAny(authority, "]@") + 1
	if i := strings.LastIndexByte(authority[from:], ':'); i >= 0 {
		return []string{authority, authority[:from+i]}
	}
	if scheme == "https" || scheme == "wss" {
		return []string{authority, authority + ":443"}
	}
	return []string{authority, authority + ":80"}
}

func toggleSlash(tail string) string {
	path, query, asked := strings.Cut(tail, "?")
	if strings.HasSuffix(path, "/") {
		path = strings.TrimSuffix(path, "/")
	} else {
		path += "/"
	}
	if asked {
		path += "?" + query
	}
	return path
}

// escapeQuery escapes what the WHATWG URL standard escapes in a query and Go
// leaves as it came.
func escapeQuery(query string) string {
	const upperHex = "0123456789ABCDEF"
	var b strings.Builder
	for i := 0; i < len(query); i++ {
		switch c := query[i]; {
		case c <= ' ' || c >= 0x7f || strings.IndexByte(`"'<>`, c) >= 0:
			b.Write([]byte{'%', upperHex[c>>4], upperHex[c&15]})
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}
