package memory

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/internal/store"
)

const missing = `{"error":"customer_id is required for multi-tenant security","code":400}` + "\n"

func testGuard(t *testing.T, w *world) {
	a, b := w.tenant(t), w.tenant(t)
	auth := map[string]string{"Authorization": "Bearer " + a.key}

	t.Run("without customer_id nothing is answered, in the words of the contract", func(t *testing.T) {
		for _, query := range []string{"", "?customer_id=", "?customer_id=x", "?customer_id=0", "?customer_id=-1", "?customer_id=01", "?customer_id=1&customer_id=1", "?customer_id=99999999999", "?Customer_ID=1"} {
			if got := a.send("GET", "/v1/memories"+query, nil, auth); got.status != 400 || got.body != missing {
				t.Errorf("%q: %d %s", query, got.status, got.body)
			}
		}
		for _, body := range []string{
			``, `{}`, `[]`, `7`, `null`, `{"customer_id":null}`, `{"customer_id":"x"}`, `{"customer_id":0}`, `{"customer_id":1.5}`, `{"customer_id":[1]}`, `{"Customer_Id":1}`,
			`{"customer_id":` + b.id.String() + `,"customer_id":` + a.id.String() + `}`, `{"customer_id":` + a.id.String() + `,"Customer_Id":` + a.id.String() + `}`,
			`{"\u0063ustomer_id":` + b.id.String() + `,"customer_id":` + a.id.String() + `}`,
		} {
			if got := a.send("POST", "/v1/memories", []byte(body), auth); got.status != 400 || got.body != missing {
				t.Errorf("%q: %d %s", body, got.status, got.body)
			}
		}
		// Where it does not belong it does not count.
		if got := a.send("POST", "/v1/memories?customer_id="+a.id.String(), []byte(`{}`), auth); got.body != missing {
			t.Errorf("in the query of a POST: %d %s", got.status, got.body)
		}
		if got := a.send("POST", "/v1/memories", []byte(`{"customer_id":`), auth); got.status != 400 || !strings.Contains(got.body, "not JSON") {
			t.Errorf("half a body: %d %s", got.status, got.body)
		}
	})

	t.Run("no key and keys that are none", func(t *testing.T) {
		path := "/v1/memories?customer_id=" + a.id.String()
		for name, header := range map[string]string{
			"none": "", "no scheme": a.key, "basic": "Basic " + a.key, "cut short": "Bearer " + a.key[:len(a.key)-1], "another's": "Bearer " + strings.Replace(b.key, "ns_"+b.id.String(), "ns_"+a.id.String(), 1),
			"anything": "Bearer ns_platform_x", "long": "Bearer ns_" + strings.Repeat("x", 1000), "empty": "Bearer ",
		} {
			got := a.send("GET", path, nil, map[string]string{"Authorization": header})
			if got.status != 401 || got.text("code") != "401" || got.header.Get("WWW-Authenticate") == "" {
				t.Errorf("%s: %d %s", name, got.status, got.body)
			}
		}
	})

	t.Run("a key opens its own customer only", func(t *testing.T) {
		for name, id := range map[string]events.Tenant{"another's": b.id, "nobody's": 880001} {
			got := a.send("GET", "/v1/memories?customer_id="+id.String(), nil, auth)
			if got.status != 403 || got.text("error") != "this key does not open that customer" {
				t.Errorf("%s: %d %s", name, got.status, got.body)
			}
			got = a.ask("POST", "/v1/memories", map[string]any{"customer_id": id, "user_id": "+12065550142", "type": "fact", "key": "k", "value": 1})
			if got.status != 403 {
				t.Errorf("%s, POST: %d %s", name, got.status, got.body)
			}
		}
		if rows := w.db.Rows(t, b.id); len(rows) > 0 {
			t.Errorf("something was written: %v", rows)
		}
		a.want(200, "GET", "/v1/memories", nil)
	})

	t.Run("keys end and are revoked", func(t *testing.T) {
		c := w.tenant(t)
		soon := time.Now().Add(-time.Second)
		_, c.key, _ = w.db.Store.NewAPIKey(t.Context(), c.id, store.KeyOptions{Name: "old", Expires: &soon})
		c.want(401, "GET", "/v1/memories", nil)
		k, key, err := w.db.Store.NewAPIKey(t.Context(), c.id, store.KeyOptions{Name: "leaked"})
		if err != nil {
			t.Fatal(err)
		}
		c.key = key
		c.want(200, "GET", "/v1/memories", nil)
		if err := w.db.Store.RevokeAPIKey(t.Context(), b.id, k.ID); err == nil {
			t.Error("another customer can revoke it")
		}
		if err := w.db.Store.RevokeAPIKey(t.Context(), c.id, k.ID); err != nil {
			t.Fatal(err)
		}
		w.forgetKeys()
		c.want(401, "GET", "/v1/memories", nil)
	})

	t.Run("the platform's key opens whom it names", func(t *testing.T) {
		c := w.tenant(t)
		k, key, err := w.db.Store.NewPlatformKey(t.Context(), store.KeyOptions{Name: "support"})
		if err != nil {
			t.Fatal(err)
		}
		c.key = key
		c.want(200, "GET", "/v1/memories", nil)
		c.want(200, "GET", "/v1/memories?customer_id="+a.id.String(), nil)
		c.want(404, "GET", "/v1/memories?customer_id=880001", nil)
		if got := c.ask("GET", "/v1/memories?customer_id=", nil); got.body != missing {
			t.Errorf("without naming one: %d %s", got.status, got.body)
		}
		if err := w.db.Store.RevokePlatformKey(t.Context(), k.ID); err != nil {
			t.Fatal(err)
		}
		w.forgetKeys()
		c.want(401, "GET", "/v1/memories", nil)
	})

	t.Run("a suspended customer gets nothing", func(t *testing.T) {
		c := w.tenant(t)
		if _, _, err := w.db.Store.UpdateSettings(t.Context(), c.id, func(s *events.Settings) error { s.Status = "suspended"; return nil }); err != nil {
			t.Fatal(err)
		}
		if got := c.want(403, "GET", "/v1/memories", nil); got.text("error") != "this customer is suspended" {
			t.Error(got.body)
		}
	})

	t.Run("a key has a limit", func(t *testing.T) {
		c := w.tenant(t)
		_, key, err := w.db.Store.NewAPIKey(t.Context(), c.id, store.KeyOptions{Name: "slow", PerMinute: 3})
		if err != nil {
			t.Fatal(err)
		}
		free := c.key
		c.key = key
		for range 3 {
			c.want(200, "GET", "/v1/memories", nil)
		}
		got := c.want(429, "GET", "/v1/memories", nil)
		if after := got.header.Get("Retry-After"); after == "" || after == "0" || got.text("code") != "429" {
			t.Errorf("Retry-After %q, %s", after, got.body)
		}
		c.key = free
		c.want(200, "GET", "/v1/memories", nil)
	})

	t.Run("what is no route is answered in JSON", func(t *testing.T) {
		for path, want := range map[string]int{"GET /v1/nothing": 404, "GET /v2/": 404, "PUT /v1/memories": 405, "PATCH /v1/memories/x": 405, "POST /memory/nothing": 404, "GET /memory/store": 405} {
			method, path, _ := strings.Cut(path, " ")
			got := a.send(method, path, nil, nil)
			if got.status != want || got.at("code") != float64(want) || got.header.Get("Content-Type") != "application/json" {
				t.Errorf("%s %s: %d %s", method, path, got.status, got.body)
			}
			if want == 405 && got.header.Get("Allow") == "" {
				t.Errorf("%s %s: what is allowed is not said", method, path)
			}
		}
	})

	t.Run("bodies are bounded", func(t *testing.T) {
		big := `{"customer_id":` + a.id.String() + `,"x":"` + strings.Repeat("x", maxBody) + `"}`
		if got := a.send("POST", "/v1/memories", []byte(big), auth); got.status != http.StatusRequestEntityTooLarge {
			t.Errorf("%d", got.status)
		}
	})
}

// forgetKeys does what two seconds do.
func (w *world) forgetKeys() {
	w.guard.keys.mu.Lock()
	defer w.guard.keys.mu.Unlock()
	clear(w.guard.keys.slots)
}

// A route that is reached around the guard answers nobody.
func testRoutesFailClosed(t *testing.T, w *world) {
	a := newAPI(w.service)
	bare := http.NewServeMux()
	a.huma = humago.New(bare, huma.DefaultConfig("bare", "1"))
	w.memoryRoutes(a)
	for _, path := range []string{"/v1/memories?customer_id=1", "/v1/memories/user/%2B12065550142?customer_id=1"} {
		out := httptest.NewRecorder()
		bare.ServeHTTP(out, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
		if out.Code != 500 {
			t.Errorf("%s: %d %s", path, out.Code, out.Body)
		}
	}
}

// Whatever a client says it accepts, it gets an answer.
func testOddAccept(t *testing.T, w *world) {
	a := w.known(t, "mine")
	for _, accept := range []string{";*,", ";", ",", "a;b,c", "a;b", "a;,b;q=,c", ";q", " ", "*/*", "text/html;level=1;q=0.5, application/json", "application/json;q=x", "\"", "text/event-stream;,"} {
		for _, path := range []string{"/v1/memories", "/v1/events", "/v1/callers/%2B12065550142/export", "/v2/profile/%2B12065550142"} {
			if got := a.send("GET", path+"?customer_id="+a.id.String(), nil, map[string]string{"Authorization": "Bearer " + a.key, "Accept": accept}); got.status != 200 {
				t.Errorf("%s for %q: %d %s", path, accept, got.status, got.body)
			}
		}
	}
	for header, want := range map[string]string{
		"": "", "text/html, application/json;q=0.9;x=y , */*;q=0": "text/html,application/json;q=0.900,*/*;q=0.000", "a/b;q=7,c/d;q=1": "a/b,c/d", ";*,": "",
	} {
		if got := acceptable(header); got != want {
			t.Errorf("%q becomes %q, want %q", header, got, want)
		}
	}
}
