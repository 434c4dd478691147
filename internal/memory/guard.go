package memory

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"math"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"golang.org/x/time/rate"

	"neurosphere.ai/neurosphere/events"
	"neurosphere.ai/neurosphere/internal/store"
)

const (
	maxBody  = 2 << 20 // bytes of a request
	bodyTime = 10 * time.Second
	keyTTL   = 2 * time.Second // how long a key may be good after it was revoked
	noteEach = time.Minute     // how often a key's use is written down

	// noCustomer is the text that integrations look for.
	noCustomer = "customer_id is required for multi-tenant security"
)

// asker is who asks, once that is settled: there is none without a tenant.
type asker struct {
	tenant events.Tenant
	rows   *store.Tenant
	key    string // its id, not the key
}

type askerKey struct{}

// guard lets a request through to a route once its key opens the tenant it
// names, with a handle of that tenant.
type guard struct {
	store   *store.Store
	log     *zap.Logger
	now     func() time.Time
	keys    *cache[string, opened]
	tenants *cache[events.Tenant, string] // status, for the platform's keys
	used    chan store.Key

	mu       sync.Mutex
	limiters map[string]*rate.Limiter // by key id
	noted    map[string]time.Time     // likewise

	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
}

// opened is a key and the status of its tenant; empty: the platform's.
type opened struct {
	store.Key
	status string
}

func newGuard(s *store.Store, log *zap.Logger, now func() time.Time) *guard {
	g := &guard{
		store: s, log: log, now: now, used: make(chan store.Key, 100), limiters: map[string]*rate.Limiter{}, noted: map[string]time.Time{},
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "neurosphere_api_requests_total", Help: "Requests to the API by route and status.",
		}, []string{"route", "status"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "neurosphere_api_seconds", Help: "Time to answer a request to the API, but for feeds that are followed.",
			Buckets: []float64{.001, .002, .005, .01, .02, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}, []string{"route"}),
	}
	g.keys = newCache(keyTTL, now, func(ctx context.Context, key string) (opened, error) {
		k, status, err := s.FindKey(ctx, key)
		return opened{k, status}, err
	})
	g.tenants = newCache(keyTTL, now, func(ctx context.Context, t events.Tenant) (string, error) {
		set, err := s.Settings(ctx, t)
		return set.Status, err
	})
	return g
}

func (g *guard) measure(r prometheus.Registerer) error {
	return errors.Join(r.Register(g.requests), r.Register(g.seconds))
}

// around is a route with the guard in front of it: the only way to one.
func (g *guard) around(pattern string, route http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		began, out := g.now(), &answer{ResponseWriter: w}
		defer func() {
			if p := recover(); p != nil {
				// What is in a panic may be anybody's words.
				g.log.Error("route broke", zap.String("route", pattern), zap.Stack("stack"))
				if out.status == 0 {
					writeFailure(out, failure{Text: "internal error", Code: http.StatusInternalServerError})
				}
			}
			g.requests.WithLabelValues(pattern, strconv.Itoa(out.status)).Inc()
			if !out.endless {
				g.seconds.WithLabelValues(pattern).Observe(g.now().Sub(began).Seconds())
			}
		}()
		who, err := g.who(out, r)
		if err != nil {
			writeFailure(out, g.failure(pattern, err))
			return
		}
		r.Header.Set("Accept", acceptable(r.Header.Get("Accept")))
		r.Header.Set("Content-Type", strings.ToLower(r.Header.Get("Content-Type"))) // which huma compares as it is
		route(out, r.WithContext(context.WithValue(r.Context(), askerKey{}, who)))
	}
}

// acceptable is an Accept header without what is not well formed, on which huma
// breaks.
func acceptable(header string) string {
	var out []string
	for part := range strings.SplitSeq(header, ",") {
		kind, params, err := mime.ParseMediaType(part)
		if err != nil {
			continue
		}
		if q, err := strconv.ParseFloat(params["q"], 64); err == nil && q >= 0 && q < 1 {
			kind += ";q=" + strconv.FormatFloat(q, 'f', 3, 64)
		}
		out = append(out, kind)
	}
	return strings.Join(out, ",")
}

// who settles who asks: a good key, a tenant that is named, and that the key
// opens it.
func (g *guard) who(w http.ResponseWriter, r *http.Request) (asker, error) {
	key, err := g.key(r)
	if err != nil {
		return asker{}, err
	}
	if wait := g.limit(key.Key); wait > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(wait.Seconds()))))
		return asker{}, fail(http.StatusTooManyRequests, "this key may make %d requests a minute", key.PerMinute)
	}
	g.note(key.Key)
	named, err := customer(w, r)
	if err != nil {
		return asker{}, err
	}
	if err := g.opens(r.Context(), key, named); err != nil {
		return asker{}, err
	}
	rows, err := g.store.For(named)
	return asker{tenant: named, rows: rows, key: key.ID}, err
}

// again reports whether a request that was let through still would be.
func (g *guard) again(r *http.Request, who asker) bool {
	key, err := g.key(r)
	return err == nil && g.opens(r.Context(), key, who.tenant) == nil
}

func (g *guard) key(r *http.Request) (opened, error) {
	bad := fail(http.StatusUnauthorized, "a valid API key is required")
	scheme, key, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") || key == "" {
		return opened{}, bad
	}
	k, err := g.keys.get(r.Context(), strings.TrimSpace(key))
	if errors.Is(err, store.ErrNotFound) || err == nil && !k.Good(g.now()) {
		return opened{}, bad
	}
	return k, err
}

// opens refuses a tenant that is not the key's.
func (g *guard) opens(ctx context.Context, key opened, named events.Tenant) error {
	status := key.status
	if !key.Tenant.Valid() { // the platform's
		var err error
		if status, err = g.tenants.get(ctx, named); err != nil {
			return err
		}
	} else if key.Tenant != named {
		return fail(http.StatusForbidden, "this key does not open that customer")
	}
	if status != "active" {
		return fail(http.StatusForbidden, "this customer is suspended")
	}
	return nil
}

// limit is how long a key has to wait.
func (g *guard) limit(k store.Key) time.Duration {
	if k.PerMinute == 0 {
		return 0
	}
	g.mu.Lock()
	l := g.limiters[k.ID]
	if l == nil {
		l = rate.NewLimiter(rate.Limit(float64(k.PerMinute)/60), k.PerMinute)
		g.limiters[k.ID] = l
	}
	g.mu.Unlock()
	now := g.now()
	r := l.ReserveN(now, 1)
	wait := r.DelayFrom(now)
	if wait > 0 {
		r.CancelAt(now)
	}
	return wait
}

// note has a key's use written down, now and then and by somebody else.
func (g *guard) note(k store.Key) {
	now := g.now()
	g.mu.Lock()
	due := now.Sub(g.noted[k.ID]) >= noteEach
	if due {
		g.noted[k.ID] = now
	}
	g.mu.Unlock()
	if due {
		select {
		case g.used <- k:
		default: // a minute later then
		}
	}
}

// noteKeys writes down when keys were used, until ctx ends.
func (s *service) noteKeys(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case k := <-s.guard.used:
			if err := s.store.KeyUsed(ctx, k, s.now()); err != nil && ctx.Err() == nil {
				s.log.Warn("use of a key is not noted", zap.String("key_id", k.ID), zap.Error(err))
			}
		}
	}
}

// customer is the tenant a request names: in its body where it has one, else in
// its query. A body is read here, and given back.
func customer(w http.ResponseWriter, r *http.Request) (events.Tenant, error) {
	missing := fail(http.StatusBadRequest, noCustomer)
	if r.Method != http.MethodPost {
		q, err := url.ParseQuery(r.URL.RawQuery)
		if err != nil || len(q["customer_id"]) != 1 {
			return 0, missing
		}
		t, err := events.ParseTenant(q["customer_id"][0])
		if err != nil {
			return 0, missing
		}
		return t, nil
	}
	body, err := readBody(w, r)
	if err != nil {
		return 0, err
	}
	if len(bytes.TrimSpace(body)) > 0 && !json.Valid(body) {
		return 0, fail(http.StatusBadRequest, "the body is not JSON")
	}
	names := namesIn(body)
	if len(names) != 1 {
		return 0, missing
	}
	t, err := events.ParseTenant(names[0])
	if err != nil {
		return 0, missing
	}
	return t, nil
}

// namesIn is each customer_id of a body, however it is written: with several,
// one reader takes the first, and another the last.
func namesIn(body []byte) (all []string) {
	dec := json.NewDecoder(bytes.NewReader(body))
	if open, err := dec.Token(); err != nil || open != json.Delim('{') {
		return nil
	}
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return nil
		}
		var v json.RawMessage
		if err := dec.Decode(&v); err != nil {
			return nil
		}
		if s, ok := name.(string); ok && strings.EqualFold(s, "customer_id") {
			if s != "customer_id" {
				return nil
			}
			all = append(all, string(v))
		}
	}
	return all
}

func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTime)) // a recorder of a test has none
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		return nil, fail(http.StatusRequestEntityTooLarge, "the body has more than %d bytes", maxBody)
	case err != nil:
		return nil, fail(http.StatusBadRequest, "the body cannot be read")
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	return body, nil
}

// answer remembers what a route answered.
type answer struct {
	http.ResponseWriter
	status  int
	endless bool // goes on as long as somebody listens
}

// WriteHeader passes a status on.
func (a *answer) WriteHeader(status int) {
	if a.status == 0 {
		a.status = status
		a.ResponseWriter.WriteHeader(status)
	}
}

// Write passes a part of the body on.
func (a *answer) Write(b []byte) (int, error) {
	a.WriteHeader(http.StatusOK)
	return a.ResponseWriter.Write(b)
}

// Unwrap is for http.ResponseController.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }
