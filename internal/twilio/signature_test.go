package twilio_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"neurosphere.ai/neurosphere/internal/twilio"
)

const vectorToken = "12345"

// posted is the set of parameters most published vectors share.
func posted(more ...string) url.Values {
	form := url.Values{
		"CallSid": {"CA1234567890ABCDE"}, "Caller": {"+14158675309"}, "Digits": {"1234"},
		"From": {"+14158675309"}, "To": {"+18005551212"},
	}
	for i := 0; i < len(more); i += 2 {
		form.Add(more[i], more[i+1])
	}
	return form
}

// vector is one published signature: what Twilio signed, and how the request
// looks to a server configured with public.
type vector struct {
	name, public, path string
	form               url.Values
	body               string
	signed             string // URL under the signature; empty: public + path
	signature          string
}

func (v vector) target() string {
	if v.signed != "" {
		return v.signed
	}
	return v.public + v.path
}

func (v vector) request() *http.Request {
	method := http.MethodPost
	if v.form == nil && v.body == "" {
		method = http.MethodGet
	}
	// The host of the request is a lie on purpose: only public counts.
	r := httptest.NewRequest(method, v.path, strings.NewReader(v.body))
	r.Host = "attacker.example"
	r.Header.Set("X-Forwarded-Host", "attacker.example")
	r.Header.Set("X-Twilio-Signature", v.signature)
	return r
}

const (
	site       = "https://mycompany.com"
	path       = "/myapp.php?foo=1&bar=2"
	jsonBody   = `{"property": "value", "boolean": true}`
	jsonHash   = "bodySHA256=0a1ff7634d9ab3b95db5c9a2dfe9416e41502b283a80c7cf19632632f96e6620"
	emptyHash  = "bodySHA256=44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
	conference = "ReasonConferenceEnded"
)

var vectors = []vector{
	{name: "V1 form", public: site, path: path, form: posted(), signature: "RSOYDt4T1cUTdK1PDd93/VVr8B8="},
	{name: "V2 keys that begin alike", public: site, path: path, form: posted("Reason", "Participant", conference, "test"), signature: "vOEb5UThFn24KEfnOFLQY2AE5FY="},
	{name: "V3 http", public: "http://mycompany.com", path: path, form: posted("Reason", "Participant", conference, "test"), signature: "n2xBNyzSW7rfYStDtOFiFMv7qNo="},
	{name: "V4 signed with 443, configured without", public: site, path: path, signed: "https://mycompany.com:443" + path, form: posted(), signature: "kvajT1Ptam85bY51eRf/AJRuM3w="},
	{name: "V5 signed with 80, configured without", public: "http://mycompany.com", path: path, signed: "http://mycompany.com:80" + path, form: posted(), signature: "0ZXoZLH/DfblKGATFgpif+LLRf4="},
	{name: "V6 other port", public: "http://mycompany.com:1234", path: path, form: posted(), signature: "Zmvh+3yNM1Phv2jhDCwEM3q5ebU="},
	{name: "V7 user and password", public: "https://user:pass@mycompany.com", path: path, form: posted(), signature: "CukzLTc1tT5dXEDIHm/tKBanW10="},
	{name: "V8 user", public: "https://user@mycompany.com", path: path, form: posted(), signature: "2YRLlVAflCqxaNicjMpJcSTgzSs="},
	{name: "V9 user, password and port", public: "https://user:pass@mycompany.com:443", path: path, form: posted(), signature: "ZQFR1PTIZXF2MXB8ZnKCvnnA+rI="},
	{name: "V10 apostrophe", public: site, path: path + "&Body=It's+amazing", form: posted(), signature: "dsq4Ehbj6cs+KdTkpF5sSSplOWw="},
	{name: "V11 repeated key", public: site, path: path, form: url.Values{"MessagingBinding.Address": {"+1325xxxxxxx", "+1415xxxxxxx"}}, signature: "83O6e2vORAoJHUNzJjDWN1jz+BA="},
	{name: "V11 repeated key, other order", public: site, path: path, form: url.Values{"MessagingBinding.Address": {"+1415xxxxxxx", "+1325xxxxxxx"}}, signature: "83O6e2vORAoJHUNzJjDWN1jz+BA="},
	{name: "V12 repeated value", public: site, path: path, form: url.Values{"Sid": {"CA123"}, "SidAccount": {"AC123"}, "Digits": {"5678", "1234", "1234"}}, signature: "IK+Dwps556ElfBT0I3Rgjkr1wJU="},
	{name: "V13 json", public: site, path: path + "&" + jsonHash, body: jsonBody, signature: "a9nBmqA0ju/hNViExpshrM61xv4="},
	{name: "V14 empty json, signed with 443", public: site, path: path + "&" + emptyHash, body: "{}", signed: "https://mycompany.com:443" + path + "&" + emptyHash, signature: "Ldidvp12m26NI7eqEvxnEpkd9Hc="},
	{name: "V15 only the hash", public: site, path: "/myapp.php?" + jsonHash, body: jsonBody, signature: "y77kIzt2vzLz71DgmJGsen2scGs="},
	{name: "V16 json fields as form", public: site, path: path, form: url.Values{"property": {"value"}, "boolean": {"true"}}, signature: "NBdBDr/T/lgjI+tlgpXjKZQZs/k="},
	{name: "V17 worked example", public: "https://example.com", path: path, form: url.Values{"CallSid": {"CA1234567890ABCDE"}, "Caller": {"+14158675310"}, "Digits": {"1234"}, "From": {"+14158675310"}, "To": {"+18005551212"}}, signature: "L/OH5YylLD5NRKLltdqwSvS0BnU="},
	{name: "byte order of keys", public: "https://h.example", path: "/x", form: url.Values{"A": {"5"}, "Ab": {"3"}, "B": {"2"}, "_": {"4"}, "a": {"1"}}, signature: "IlJqd0vEq6k1GsjnQA9L/wTfE8o="},
	{name: "get appends nothing", public: "https://h.example", path: "/cb?CallSid=CA1&CallStatus=completed", signature: "k9tYWAS3nyL17A8mkx9BYzeu1z0="},
	{name: "not ascii, empty value", public: "https://voice.example.com", path: "/sms", form: url.Values{"Body": {"héllo ☎"}, "From": {"+15005550006"}, "MediaUrl0": {""}}, signature: "NBovBGsQh5srAqckZTiNK3/b8bs="},
}

// named is the vector of that name.
func named(t *testing.T, name string) vector {
	t.Helper()
	for _, v := range vectors {
		if v.name == name {
			return v
		}
	}
	t.Fatalf("no vector %q", name)
	return vector{}
}

func TestSignatureVectors(t *testing.T) {
	t.Parallel()
	v := twilio.NewVerifier(vectorToken)
	for _, vec := range vectors {
		t.Run(vec.name, func(t *testing.T) {
			t.Parallel()
			if got := twilio.Sign(vectorToken, vec.target(), vec.form); got != vec.signature {
				t.Errorf("Sign = %s, want %s", got, vec.signature)
			}
			if !v.Request(vec.public, vec.request(), vec.form, []byte(vec.body)) {
				t.Error("a genuine request is refused")
			}
			if twilio.NewVerifier("12346").Request(vec.public, vec.request(), vec.form, []byte(vec.body)) {
				t.Error("accepted under another token")
			}
		})
	}
}

func TestForgeriesAreRefused(t *testing.T) {
	t.Parallel()
	good := named(t, "V1 form")
	posting := named(t, "V13 json")
	with := func(v vector, change func(*vector)) vector { change(&v); return v }
	tests := map[string]vector{
		"parameters sorted wrongly": with(named(t, "V2 keys that begin alike"), func(v *vector) { v.signature = "95+Bu0JVPi0r/SsESZCVf0dWAjw=" }),
		"no signature":              with(good, func(v *vector) { v.signature = "" }),
		"padding cut off":           with(good, func(v *vector) { v.signature = strings.TrimSuffix(v.signature, "=") }),
		// The last digit before the padding carries unused bits.
		"signature with other spare bits": with(good, func(v *vector) { v.signature = "RSOYDt4T1cUTdK1PDd93/VVr8B9=" }),
		"parameter added":                 with(good, func(v *vector) { v.form = posted("Extra", "1") }),
		"parameter missing":               with(good, func(v *vector) { v.form = posted(); v.form.Del("Digits") }),
		"value changed":                   with(good, func(v *vector) { v.form = posted(); v.form.Set("To", "+18005551213") }),
		"second value added":              with(good, func(v *vector) { v.form = posted("To", "+18005551213") }),
		"query changed":                   with(good, func(v *vector) { v.path = "/myapp.php?foo=1&bar=3" }),
		"other site":                      with(good, func(v *vector) { v.public = "https://mycompany.example" }),
		"other port": with(good, func(v *vector) {
			v.public = "https://mycompany.com:8443"
			v.signature = named(t, "V4 signed with 443, configured without").signature
		}),
		"http instead of https":  with(good, func(v *vector) { v.public = "http://mycompany.com" }),
		"slash added to a path":  with(named(t, "byte order of keys"), func(v *vector) { v.path = "/x/" }),
		"no public address":      with(good, func(v *vector) { v.public = "" }),
		"json body changed":      with(posting, func(v *vector) { v.body = strings.Replace(jsonBody, "true", "null", 1) }),
		"json body emptied":      with(posting, func(v *vector) { v.body = ""; v.form = url.Values{} }),
		"json body without hash": with(named(t, "get appends nothing"), func(v *vector) { v.body = jsonBody }),
		"hash repeated": {
			public: site, path: "/p?" + jsonHash + "&" + emptyHash, body: jsonBody,
			signature: twilio.Sign(vectorToken, site+"/p?"+jsonHash+"&"+emptyHash, nil),
		},
	}
	v := twilio.NewVerifier(vectorToken)
	for name, vec := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if v.Request(vec.public, vec.request(), vec.form, []byte(vec.body)) {
				t.Error("accepted")
			}
		})
	}
	t.Run("two signatures", func(t *testing.T) {
		t.Parallel()
		r := good.request()
		r.Header.Add("X-Twilio-Signature", good.signature)
		if v.Request(good.public, r, good.form, nil) {
			t.Error("accepted")
		}
	})
	t.Run("body on a get", func(t *testing.T) {
		t.Parallel()
		asked := named(t, "get appends nothing")
		if v.Request(asked.public, asked.request(), nil, []byte("a=1")) {
			t.Error("accepted")
		}
	})
}

func TestTokens(t *testing.T) {
	t.Parallel()
	good := named(t, "V1 form")
	t.Run("either of two while rotating", func(t *testing.T) {
		t.Parallel()
		for _, v := range []twilio.Verifier{twilio.NewVerifier(vectorToken, "new"), twilio.NewVerifier("new", vectorToken)} {
			if !v.Request(good.public, good.request(), good.form, nil) {
				t.Error("refused")
			}
		}
	})
	t.Run("an empty token opens nothing", func(t *testing.T) {
		t.Parallel()
		forged := good
		forged.signature = twilio.Sign("", good.target(), good.form)
		for _, v := range []twilio.Verifier{twilio.NewVerifier(), twilio.NewVerifier(""), twilio.NewVerifier("", vectorToken), {}} {
			if v.Request(forged.public, forged.request(), forged.form, nil) {
				t.Error("accepted")
			}
		}
	})
}

func TestConfiguredAddress(t *testing.T) {
	t.Parallel()
	v := twilio.NewVerifier(vectorToken)
	tests := map[string]struct {
		public, path, signed string
		want                 bool
	}{
		"slash at the end":                {"https://h.example/", "/x", "https://h.example/x", true},
		"path in front":                   {"https://h.example/base", "/x", "https://h.example/base/x", true},
		"port dropped for calls":          {"https://h.example:8443", "/x", "https://h.example/x", true},
		"port kept for texts":             {"https://h.example:8443", "/x", "https://h.example:8443/x", true},
		"loopback":                        {"http://127.0.0.1:8080", "/x?a=1", "http://127.0.0.1:8080/x?a=1", true},
		"ipv6 with port":                  {"http://[::1]:8080", "/x", "http://[::1]/x", true},
		"ipv6 without port":               {"https://[::1]", "/x", "https://[::1]:443/x", true},
		"user and password dropped":       {"https://u:p@h.example", "/x", "https://h.example/x", true},
		"user dropped, port added":        {"https://u:p@h.example", "/x", "https://h.example:443/x", true},
		"apostrophe signed escaped":       {"https://h.example", "/x?b=It's", "https://h.example/x?b=It%27s", true},
		"apostrophe signed as it is":      {"https://h.example", "/x?b=It%27s", "https://h.example/x?b=It's", true},
		"absolute request line":           {"https://h.example", "http://attacker.example/x", "https://h.example/x", true},
		"absolute line is not the target": {"https://h.example", "http://attacker.example/x", "http://attacker.example/x", false},
		"another host's port":             {"https://h.example", "/x", "https://h.example:8443/x", false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := httptest.NewRequest(http.MethodPost, tt.path, nil)
			form := posted()
			r.Header.Set("X-Twilio-Signature", twilio.Sign(vectorToken, tt.signed, form))
			if got := v.Request(tt.public, r, form, nil); got != tt.want {
				t.Errorf("Request = %v, want %v", got, tt.want)
			}
		})
	}
}

func TestSocketVectors(t *testing.T) {
	t.Parallel()
	const secure = "https://voice.example.com"
	tests := map[string]struct {
		public, path, signature string
		want                    bool
	}{
		"as it is":                         {secure, "/relay/ws", "izxTt839K53r2DM8ZIDTJSLQdJM=", true},
		"configured as wss":                {"wss://voice.example.com", "/relay/ws", "izxTt839K53r2DM8ZIDTJSLQdJM=", true},
		"signed with a slash more":         {secure, "/relay/ws", "3XU5zer3ls0VFRMwKtnPKAyPwXU=", true},
		"signed with a slash less":         {secure, "/relay/ws/", "izxTt839K53r2DM8ZIDTJSLQdJM=", true},
		"signed with port":                 {secure, "/relay/ws", "9EDR+h29hCoFw+dAsnM3adomXWs=", true},
		"signed without port":              {secure + ":443", "/relay/ws", "izxTt839K53r2DM8ZIDTJSLQdJM=", true},
		"signed as https":                  {secure, "/relay/ws", "5k1PT0lPlOzjdAB8rmvPk2EWHZM=", false},
		"other path":                       {secure, "/relay/wt", "izxTt839K53r2DM8ZIDTJSLQdJM=", false},
		"two slashes more":                 {secure, "/relay/ws//", "izxTt839K53r2DM8ZIDTJSLQdJM=", false},
		"query after a slash":              {secure, "/ws?a=1", twilio.Sign(vectorToken, "wss://voice.example.com/ws/?a=1", nil), true},
		"plain socket for a plain address": {"http://127.0.0.1:8080", "/ws", twilio.Sign(vectorToken, "ws://127.0.0.1:8080/ws", nil), true},
		"plain socket for a secure one":    {secure, "/relay/ws", twilio.Sign(vectorToken, "ws://voice.example.com/relay/ws", nil), false},
	}
	v := twilio.NewVerifier(vectorToken)
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := httptest.NewRequest(http.MethodGet, tt.path, nil)
			r.Header["X-Twilio-Signature"] = []string{tt.signature}
			if got := v.Socket(tt.public, r); got != tt.want {
				t.Errorf("Socket = %v, want %v", got, tt.want)
			}
		})
	}
	for target, want := range map[string]string{
		"wss://voice.example.com/relay/ws":     "izxTt839K53r2DM8ZIDTJSLQdJM=",
		"wss://voice.example.com/relay/ws/":    "3XU5zer3ls0VFRMwKtnPKAyPwXU=",
		"wss://voice.example.com:443/relay/ws": "9EDR+h29hCoFw+dAsnM3adomXWs=",
		"https://voice.example.com/relay/ws":   "5k1PT0lPlOzjdAB8rmvPk2EWHZM=",
	} {
		if got := twilio.Sign(vectorToken, target, nil); got != want {
			t.Errorf("Sign(%s) = %s, want %s", target, got, want)
		}
	}
}

// FuzzSignature signs what Twilio could send and asks that exactly that is
// accepted: not with one byte of a value, the path or the signature changed.
func FuzzSignature(f *testing.F) {
	f.Add("https://h.example", "/twilio/voice", "a=1", "From=%2B1555&To=%2B1556", uint(3))
	f.Add("http://127.0.0.1:8080", "/x", "b=It's", "Body=h%C3%A9&Body=&Body=h%C3%A9", uint(40))
	f.Add("wss://[::1]:1", "/", "", "", uint(0))
	f.Add("https://u:p@h", "//", "%", "a;b=%zz", uint(7))
	f.Fuzz(func(t *testing.T, public, path, query, encoded string, at uint) {
		form, _ := url.ParseQuery(encoded)
		u := &url.URL{Path: path, RawQuery: query}
		r := &http.Request{Method: http.MethodPost, URL: u, Header: http.Header{}}
		v := twilio.NewVerifier(vectorToken)
		signature := twilio.Sign(vectorToken, strings.TrimSuffix(public, "/")+u.RequestURI(), form)
		r.Header.Set("X-Twilio-Signature", signature)
		_, hashed := u.Query()["bodySHA256"]
		want := public != "" && strings.HasPrefix(u.RequestURI(), "/") && !hashed
		if got := v.Request(public, r, form, nil); got != want {
			t.Fatalf("signed %q %q %v: accepted %v, want %v", public, u.RequestURI(), form, got, want)
		}
		v.Socket(public, r)
		if !want {
			return
		}
		changed := []byte(signature)
		changed[at%uint(len(changed))] ^= 1
		r.Header.Set("X-Twilio-Signature", string(changed))
		if v.Request(public, r, form, nil) {
			t.Fatalf("accepted with signature %s instead of %s", changed, signature)
		}
		r.Header.Set("X-Twilio-Signature", signature)
		if other := oneByteChanged(form, at); other != nil && v.Request(public, r, other, nil) {
			t.Fatalf("accepted with %v instead of %v", other, form)
		}
		r.URL = &url.URL{Path: path + "x", RawQuery: query}
		if v.Request(public, r, form, nil) {
			t.Fatal("accepted with a longer path")
		}
	})
}

// oneByteChanged is form with one byte of one value changed; nil when it has
// no byte to change.
func oneByteChanged(form url.Values, at uint) url.Values {
	other := url.Values{}
	changed := false
	for key, values := range form {
		for _, value := range values {
			if !changed && value != "" {
				b := []byte(value)
				b[at%uint(len(b))] ^= 1
				value, changed = string(b), true
			}
			other.Add(key, value)
		}
	}
	if !changed {
		return nil
	}
	return other
}
