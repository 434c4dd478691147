package memory

import (
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"neurosphere.ai/neurosphere/internal/app"
	"neurosphere.ai/neurosphere/internal/bus"
	"neurosphere.ai/neurosphere/internal/testenv"
	"neurosphere.ai/neurosphere/internal/vault"
)

// While the bus is away, what is in rows is read, and all else is refused.
func TestBusAway(t *testing.T) {
	t.Parallel()
	v, err := vault.New(strings.Repeat("0f", 32))
	if err != nil {
		t.Fatal(err)
	}
	w, server := &world{db: testenv.Postgres(t), metrics: prometheus.NewRegistry()}, testenv.DurableServer(t)
	w.service, err = newService(&app.Platform{Log: zap.NewNop(), Store: w.db.Store, Bus: server.Bus(t, bus.Options{Name: "test"}), Vault: v})
	if err != nil {
		t.Fatal(err)
	}
	h, err := w.handler(w.metrics)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(h)
	t.Cleanup(srv.Close)
	w.url = srv.URL
	a := w.tenant(t)
	memory := map[string]any{"user_id": ann, "type": "fact", "key": "k", "value": 1}
	a.want(201, "POST", "/v1/memories", memory)
	server.Stop()
	a.want(200, "GET", "/v1/memories", nil)
	a.want(503, "POST", "/v1/memories", memory)
	a.want(503, "GET", "/v1/events", nil)
	const path = "/v1/callers/%2B12065550142"
	a.want(503, "GET", path+"/export", nil)
	a.want(503, "GET", path+"/erasure", nil)
	a.want(503, "DELETE", path, nil)
	server.Restart()
	if got := a.want(200, "GET", "/v1/memories", nil); got.at("count") != 1.0 {
		t.Error(got.body)
	}
	for began := time.Now(); a.ask("GET", path+"/export", nil).status == 503; {
		if time.Since(began) > 20*time.Second {
			break // the bus is not there again
		}
	}
	a.want(200, "GET", path+"/export", nil)
}
