package memory

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/internal/app"
	"neurosphere.ai/neurosphere/internal/settings"
	"neurosphere.ai/neurosphere/internal/store"
	"neurosphere.ai/neurosphere/internal/testenv"
	"neurosphere.ai/neurosphere/internal/vault"
)

// world is the API with a bus and a database of its own.
type world struct {
	*service
	db      *testenv.Database
	url     string
	metrics *prometheus.Registry
	logs    *observer.ObservedLogs
}

func newWorld(t testing.TB) *world {
	t.Helper()
	core, logs := observer.New(zapcore.DebugLevel)
	v, err := vault.New(strings.Repeat("0f", 32))
	if err != nil {
		t.Fatal(err)
	}
	db := testenv.Postgres(t)
	w := &world{db: db, metrics: prometheus.NewRegistry(), logs: logs}
	w.service, err = newService(&app.Platform{Log: zap.New(core), Store: db.Store, Bus: testenv.Bus(t), Vault: v})
	if err != nil {
		t.Fatal(err)
	}
	w.beat = 20 * time.Millisecond
	h, err := w.handler(w.metrics)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	w.url = srv.URL
	return w
}

// Each of them makes businesses of its own.
func TestAPI(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for name, test := range map[string]func(*testing.T, *world){
		"guard":                   testGuard,
		"names are exact":         testNamesAreExact,
		"values stay as they are": testValuesStayAsTheyAre,
		"whole numbers":           testWholeNumbersAreTakenHoweverWritten,
		"longest is taken":        testLongestIsTaken,
		"routes fail closed":      testRoutesFailClosed,
		"feed":                    testFeed,
		"process call states what an ingress would": testProcessCallStatesWhatAnIngressWould,
		"numbers of calls taken in are masked":      testNumbersOfCallsTakenInAreMasked,
		"same call is taken in once":                testSameCallIsTakenInOnce,
		"one of many is taken in":                   testOneOfManyIsTakenIn,
		"call on the phone is let be":               testCallOnThePhoneIsLetBe,
		"process call refuses what is no call":      testProcessCallRefusesWhatIsNoCall,
		"anothers is as if it did not exist":        testAnothersIsAsIfItDidNotExist,
		"pages":                                     testPages,
		"writers at once lose nothing":              testWritersAtOnceLoseNothing,
		"expired is not shown":                      testExpiredIsNotShown,
		"idempotency key of many":                   testIdempotencyKeyOfMany,
		"corrections fit their field":               testCorrectionsFitTheirField,
		"idempotency key":                           testIdempotencyKey,
		"context stays data":                        testContextStaysData,
		"contract":                                  testContract,
		"on hold":                                   testOnHold,
		"known by words":                            testKnownByWords,
		"odd accept":                                testOddAccept,
		"shared is nobodys":                         testSharedIsNobodys,
		"many ask at once":                          testManyAskAtOnce,
		"every route is guarded":                    testEveryRouteIsGuarded,
		"errors are in plain words":                 testErrorsAreInPlainWords,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, w)
		})
	}
}

// told are a business's facts, all of them.
func (c *tenant) told() int {
	c.t.Helper()
	all, err := c.w.bus.Feed(c.t.Context(), c.id, 0, 10_000)
	if err != nil {
		c.t.Fatal(err)
	}
	return len(all)
}

// tenant is a business with a key.
type tenant struct {
	w   *world
	t   testing.TB
	id  events.Tenant
	key string
}

func (w *world) tenant(t testing.TB) *tenant {
	t.Helper()
	all, err := store.Templates()
	if err != nil {
		t.Fatal(err)
	}
	s := w.db.Customer(t, settings.Default("Acme", all[0]))
	// Else an erasure of another's brings them onto the bus, at any moment.
	if err := w.db.Store.MarkPublished(t.Context(), s.Tenant, s.Version); err != nil {
		t.Fatal(err)
	}
	_, key, err := w.db.Store.NewAPIKey(t.Context(), s.Tenant, store.KeyOptions{Name: "test"})
	if err != nil {
		t.Fatal(err)
	}
	return &tenant{w: w, t: t, id: s.Tenant, key: key}
}

// answered is what the API said.
type answered struct {
	status int
	header http.Header
	body   string
	json   map[string]any
}

// ask makes one request. A body is given as JSON; customer_id is put in where
// it belongs unless the path or body has one.
func (c *tenant) ask(method, path string, body map[string]any) answered {
	c.t.Helper()
	if method == http.MethodPost {
		if _, ok := body["customer_id"]; !ok {
			b := map[string]any{"customer_id": c.id}
			for k, v := range body {
				b[k] = v
			}
			body = b
		}
	} else if !strings.Contains(path, "customer_id=") {
		sep := "?"
		if strings.Contains(path, "?") {
			sep = "&"
		}
		path += sep + "customer_id=" + c.id.String()
	}
	var raw []byte
	if body != nil {
		var err error
		if raw, err = json.Marshal(body); err != nil {
			c.t.Fatal(err)
		}
	}
	return c.send(method, path, raw, map[string]string{"Authorization": "Bearer " + c.key})
}

func (c *tenant) send(method, path string, body []byte, headers map[string]string) answered {
	c.t.Helper()
	req, err := http.NewRequestWithContext(c.t.Context(), method, c.w.url+path, bytes.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	for k, v := range headers {
		req.Header.Set(k, v)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	a := answered{status: resp.StatusCode, header: resp.Header, body: string(raw)}
	_ = json.Unmarshal(raw, &a.json)
	return a
}

// want is ask for an answer of one status.
func (c *tenant) want(status int, method, path string, body map[string]any) answered {
	c.t.Helper()
	a := c.ask(method, path, body)
	if a.status != status {
		c.t.Fatalf("%s %s: %d %s; want %d", method, path, a.status, a.body, status)
	}
	return a
}

// at is a value inside an answer, by path.
func (a answered) at(path ...any) any {
	var v any = a.json
	for _, p := range path {
		switch p := p.(type) {
		case string:
			m, _ := v.(map[string]any)
			v = m[p]
		case int:
			l, _ := v.([]any)
			if p >= len(l) {
				return nil
			}
			v = l[p]
		}
	}
	return v
}

func (a answered) text(path ...any) string { return fmt.Sprint(a.at(path...)) }
