package memory

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"neurosphere.ai/neurosphere/internal/store"
)

// BenchmarkEnrichedContext is the call a conversation begins with, by 8 clients
// at once over HTTP, beside the same query through the same pool in the same
// run: 200,000 callers with five summaries each, or as many callers as
// BENCH_CALLERS says.
func BenchmarkEnrichedContext(b *testing.B) {
	const clients = 8
	callers := 200_000
	if n, err := strconv.Atoi(os.Getenv("BENCH_CALLERS")); err == nil && n > 0 {
		callers = n
	}
	// As app.Run has it: see steadyCollector there.
	defer debug.SetGCPercent(debug.SetGCPercent(50))
	ballast := make([]byte, 128<<20)
	defer runtime.KeepAlive(ballast)
	w := newWorld(b)
	me := w.tenant(b)
	load(b, w, me, callers)
	_, key, err := w.store.NewAPIKey(b.Context(), me.id, store.KeyOptions{Name: "bench"})
	if err != nil {
		b.Fatal(err)
	}
	rows, err := w.store.For(me.id)
	if err != nil {
		b.Fatal(err)
	}
	conns := make(chan *bufio.ReadWriter, clients)
	for range clients {
		conns <- dial(b, w.url)
	}
	overHTTP := func(user string) error {
		body := fmt.Sprintf(`{"customer_id":%d,"user_id":%q,"num_summaries":5}`, me.id, user)
		req, err := http.NewRequestWithContext(b.Context(), http.MethodPost, w.url+"/v2/context/enriched", bytes.NewReader([]byte(body)))
		if err != nil {
			return err
		}
		req.Header.Set("Authorization", "Bearer "+key)
		req.Header.Set("Content-Type", "application/json")
		c := <-conns
		defer func() { conns <- c }()
		if err := errors.Join(req.Write(c), c.Flush()); err != nil {
			return err
		}
		resp, err := http.ReadResponse(c.Reader, req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		raw, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != http.StatusOK || !bytes.Contains(raw, []byte(`"known":true`)) {
			return fmt.Errorf("%d %s %w", resp.StatusCode, raw, err)
		}
		return nil
	}
	bare := func(user string) error {
		e, err := rows.Enriched(b.Context(), user, 5)
		if err == nil && !e.Known {
			err = fmt.Errorf("%s is not known", user)
		}
		return err
	}
	// Both in turns, so that what else the machine does meets both.
	const rounds = 10
	each := max(b.N/rounds/clients, 50)
	took := map[string][]time.Duration{}
	measure(b, clients, each, callers, bare) // warm
	b.ResetTimer()
	for range rounds {
		took["http"] = append(took["http"], measure(b, clients, each, callers, overHTTP)...)
		took["bare"] = append(took["bare"], measure(b, clients, each, callers, bare)...)
	}
	b.StopTimer()
	at := func(of string, p float64) float64 {
		slices.Sort(took[of])
		return float64(took[of][int(p*float64(len(took[of])-1))]) / float64(time.Millisecond)
	}
	for _, of := range []string{"http", "bare"} {
		b.ReportMetric(at(of, .5), of+"-p50-ms")
		b.ReportMetric(at(of, .99), of+"-p99-ms")
	}
	b.ReportMetric(at("http", .99)/at("bare", .99), "p99-ratio")
	b.ReportMetric(0, "ns/op")
}

// dial opens a client's connection. The client does no more than it must, on
// the goroutine that waits for the answer, as the one that sends bare SQL does:
// http.Client has two goroutines for each connection, whose turns would be
// counted among ours.
func dial(b *testing.B, url string) *bufio.ReadWriter {
	b.Helper()
	c, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = c.Close() })
	return bufio.NewReadWriter(bufio.NewReaderSize(c, 16<<10), bufio.NewWriter(c))
}

// measure has clients do each a number of requests, and returns what each took.
func measure(b *testing.B, clients, each, callers int, do func(user string) error) (all []time.Duration) {
	b.Helper()
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range clients {
		wg.Go(func() {
			took := make([]time.Duration, 0, each)
			for range each {
				user := fmt.Sprintf("+1206%07d", rand.IntN(callers))
				began := time.Now()
				if err := do(user); err != nil {
					b.Error(err)
					return
				}
				took = append(took, time.Since(began))
			}
			mu.Lock()
			defer mu.Unlock()
			all = append(all, took...)
		})
	}
	wg.Wait()
	return all
}

// load makes callers with five summaries, three memories, a lead and a style.
func load(b *testing.B, w *world, me *tenant, callers int) {
	b.Helper()
	const field = `jsonb_build_object('value', 'Kia', 'call_id', 'CA1', 'turn', 3, 'evidence', 'we drive a Kia', 'said_at', '2026-05-06T15:00:00Z', 'stated', true)`
	for _, sql := range []string{
		`INSERT INTO caller_profiles (customer_id, user_id, name, template, profile, quick_bio, first_call_at, last_call_at, total_calls, profile_sha256, seq)
			SELECT $1, '+1206' || lpad(n::text, 7, '0'), 'Ann ' || n, 'insurance_v1', jsonb_build_object('personal.name', ` + field + `, 'policies.auto_1.make', ` + field + `,
			'policies.auto_1.model', ` + field + `, 'policies.home.address', ` + field + `, 'personal.email', ` + field + `), 'Ann, since 2026', now() - interval '90 days', now(), 5, md5(n::text), n
			FROM generate_series(0, $2 - 1) AS n`,
		`INSERT INTO call_summaries (customer_id, call_id, user_id, call_date, duration_seconds, summary, key_topics, key_variables, sentiment, resolution_status, revision, seq)
			SELECT $1, 'CA' || n || '-' || c, '+1206' || lpad(n::text, 7, '0'), now() - c * interval '9 days', 180,
			'The caller asked about the renewal of a policy for a car and wanted to know whether a second driver can be added; the agent promised a call back.',
			'["renewal", "second driver"]', '{"personal.name": "Ann", "policies.auto_1.make": "Kia"}', 'positive', 'pending', 0, n
			FROM generate_series(0, $2 - 1) AS n, generate_series(1, 5) AS c`,
		`INSERT INTO memories (customer_id, id, user_id, type, key, value, content, call_id, turn, evidence, subject, origin, created_at, stated_by, last_said_at, times, seq)
			SELECT $1, 'm' || n || '-' || c, '+1206' || lpad(n::text, 7, '0'), 'fact', 'k' || c, 'has a dog called Rex', 'has a dog called Rex', 'CA1', 2, 'my dog Rex', 'caller', 'call', now() - c * interval '9 days', '', now() - c * interval '9 days', 1, n
			FROM generate_series(0, $2 - 1) AS n, generate_series(1, 3) AS c`,
		`INSERT INTO leads (customer_id, user_id, stage, since, first_at, history, seq) SELECT $1, '+1206' || lpad(n::text, 7, '0'), 'Follow-up', now(), now(), '[]', n FROM generate_series(0, $2 - 1) AS n`,
		`INSERT INTO personality_averages (customer_id, user_id, averages, seq) SELECT $1, '+1206' || lpad(n::text, 7, '0'),
			'{"formality": {"n": 5, "sum": 250000000, "min": 1, "max": 2}, "patience": {"n": 5, "sum": 250000000, "min": 1, "max": 2}, "urgency_level": {"n": 5, "sum": 250000000, "min": 1, "max": 2}}', n
			FROM generate_series(0, $2 - 1) AS n`,
	} {
		w.db.Exec(b, sql, int32(me.id), callers)
	}
	w.db.Exec(b, `VACUUM (ANALYZE) caller_profiles, call_summaries, memories, leads, personality_averages`)
}
