package conversation

import (
	"github.com/prometheus/client_golang/prometheus"

	"neurosphere.ai/neurosphere/internal/openai"
)

// metrics count what callers are spared from noticing. Nil counts nothing.
type metrics struct {
	missed   prometheus.Counter
	failures *prometheus.CounterVec
	waysOn   prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		missed:   prometheus.NewCounter(prometheus.CounterOpts{Name: "neurosphere_context_missed_total", Help: "Calls whose caller's context did not come in time."}),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "neurosphere_model_failures_total", Help: "Answers the model did not finish, by kind."}, []string{"kind"}),
		waysOn:   prometheus.NewCounter(prometheus.CounterOpts{Name: "neurosphere_ways_on_total", Help: "Turns answered without the model's words."}),
	}
	reg.MustRegister(m.missed, m.failures, m.waysOn)
	return m
}

func (m *metrics) contextMissed() {
	if m != nil {
		m.missed.Inc()
	}
}

func (m *metrics) modelFailed(err error) {
	if m == nil {
		return
	}
	kind := string(openai.KindOf(err))
	if kind == "" {
		kind = "late"
	}
	m.failures.WithLabelValues(kind).Inc()
}

func (m *metrics) wayOn() {
	if m != nil {
		m.waysOn.Inc()
	}
}
