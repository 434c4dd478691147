package memory

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	"go.uber.org/zap"

	"neurosphere.ai/neurosphere/internal/bus"
	"neurosphere.ai/neurosphere/internal/privacy"
	"neurosphere.ai/neurosphere/internal/store"
)

// failure is every error the API answers.
type failure struct {
	Text    string   `json:"error" doc:"What is wrong, for people"`
	Code    int      `json:"code" doc:"The HTTP status"`
	Details []detail `json:"details,omitempty" doc:"What is wrong with which part of the request" nullable:"false"`

	retry time.Duration // after which it may be asked again; 0: not said
}

type detail struct {
	Where string `json:"where" doc:"As in body.user_id or query.limit"`
	What  string `json:"what"`
}

// Error is the text.
func (f failure) Error() string { return f.Text }

// GetStatus is for huma.
func (f failure) GetStatus() int { return f.Code }

// GetHeaders is for huma.
func (f failure) GetHeaders() http.Header {
	h := http.Header{}
	if f.retry > 0 {
		h.Set("Retry-After", strconv.Itoa(int(math.Ceil(f.retry.Seconds()))))
	}
	return h
}

func fail(code int, format string, args ...any) failure {
	return failure{Text: fmt.Sprintf(format, args...), Code: code}
}

// notFound is the same for what does not exist and for what is another's.
func notFound() failure { return fail(http.StatusNotFound, "not found") }

// invalid says what is wrong with one part of a request.
func invalid(where, format string, args ...any) failure {
	f := fail(http.StatusUnprocessableEntity, "validation failed")
	f.Details = []detail{{where, fmt.Sprintf(format, args...)}}
	return f
}

// failure is what a client is told of an error.
func (g *guard) failure(route string, err error) failure {
	var f failure
	switch {
	case errors.As(err, &f):
		return f
	case errors.Is(err, store.ErrNotFound), errors.Is(err, privacy.ErrNothing):
		return notFound()
	case errors.Is(err, privacy.ErrHeld):
		return fail(http.StatusConflict, "the customer's data is on hold: nothing is removed")
	case errors.Is(err, store.ErrRefused):
		return fail(http.StatusUnprocessableEntity, "a value cannot be stored")
	case errors.Is(err, context.Canceled):
		return fail(499, "the client has gone")
	case errors.Is(err, store.ErrUnavailable), errors.Is(err, bus.ErrAway), errors.Is(err, context.DeadlineExceeded):
		return fail(http.StatusServiceUnavailable, "not available at the moment")
	}
	g.log.Error("route failed", zap.String("route", route), zap.Error(err))
	return fail(http.StatusInternalServerError, "internal error")
}

func writeFailure(w http.ResponseWriter, f failure) {
	w.Header().Set("Content-Type", "application/json")
	if f.Code == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", "Bearer")
	}
	w.WriteHeader(f.Code)
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(f)
}

// configure has huma answer failures of ours; it knows one kind for the whole
// program, and we are the only ones who use it.
var configure = sync.OnceFunc(func() {
	huma.DefaultArrayNullable = false
	huma.ValidateStrictCasing = true // as bodies are read
	huma.NewError = func(status int, text string, errs ...error) huma.StatusError {
		f := failure{Text: text, Code: status}
		for _, err := range errs {
			var d *huma.ErrorDetail
			switch {
			case errors.As(err, &d):
				// Not the value: it may be anybody's words.
				where, what := d.Location, d.Message
				if at, rest, ok := strings.Cut(what, ": "); ok && where == "body" && strings.HasPrefix(at, "body") { // see exactly
					where, what = at, rest
				}
				f.Details = append(f.Details, detail{where, what})
			case err != nil:
				f.Details = append(f.Details, detail{"", err.Error()})
			}
		}
		return f
	}
})

// api is the routes and their document.
type api struct {
	s    *service
	mux  *http.ServeMux
	huma huma.API
}

// guarded is the mux that routes are registered on: none gets there without the
// guard in front of it.
type guarded struct {
	*http.ServeMux
	guard *guard
}

// HandleFunc registers a route, guarded.
func (g guarded) HandleFunc(pattern string, route func(http.ResponseWriter, *http.Request)) {
	g.ServeMux.HandleFunc(pattern, g.guard.around(pattern, route))
}

func newAPI(s *service) *api {
	configure()
	c := huma.DefaultConfig("NeuroSphere AI-Memory", "1")
	c.Info.Description = "What is known about a business's callers. Every request names the business it is about in customer_id, " +
		"which must be the key's own; what is another's is not there."
	c.OpenAPIPath, c.DocsPath, c.SchemasPath = "", "", "" // served by us, guarded by nobody; pages that load scripts from elsewhere are not served
	c.CreateHooks = nil
	c.Formats = map[string]huma.Format{"application/json": exactly, "json": exactly}
	c.AllowAdditionalPropertiesByDefault = true
	c.Components.SecuritySchemes = map[string]*huma.SecurityScheme{"key": {Type: "http", Scheme: "bearer", Description: "An API key of the customer, or of the platform."}}
	c.Security = []map[string][]string{{"key": {}}}
	mux := http.NewServeMux()
	return &api{s: s, mux: mux, huma: humago.New(guarded{mux, s.guard}, c)}
}

// route registers do, which gets who asks beside its input. There is no other
// way to make a route.
func route[I, O any](a *api, op huma.Operation, do func(ctx context.Context, who asker, in *I) (*O, error)) {
	op.Errors = []int{400, 401, 403, 404, 409, 410, 413, 415, 422, 429, 500, 503}
	op.MaxBodyBytes, op.BodyReadTimeout = -1, -1 // the guard has read it
	pattern := op.Method + " " + op.Path
	huma.Register(a.huma, op, func(ctx context.Context, in *I) (*O, error) {
		who, ok := ctx.Value(askerKey{}).(asker)
		if !ok || who.rows == nil {
			return nil, a.s.guard.failure(pattern, errors.New("nobody asks"))
		}
		out, err := do(ctx, who, in)
		if err != nil {
			return nil, a.s.guard.failure(pattern, err)
		}
		return out, nil
	})
}

// document is the OpenAPI document of all routes.
func (a *api) document() ([]byte, error) { return json.Marshal(a.huma.OpenAPI()) }

// methods are those a path is tried for when it has no route for a request's.
var methods = []string{http.MethodGet, http.MethodPost, http.MethodDelete}

// serve answers in JSON what is no route, too.
func (a *api) serve(w http.ResponseWriter, r *http.Request) {
	if _, pattern := a.mux.Handler(r); pattern != "" {
		a.mux.ServeHTTP(w, r)
		return
	}
	var allowed []string
	for _, m := range methods {
		other := r.Clone(r.Context())
		other.Method = m
		if _, pattern := a.mux.Handler(other); pattern != "" {
			allowed = append(allowed, m)
		}
	}
	if len(allowed) == 0 {
		writeFailure(w, notFound())
		return
	}
	w.Header().Set("Allow", strings.Join(allowed, ", "))
	writeFailure(w, fail(http.StatusMethodNotAllowed, "%s is not allowed here", r.Method))
}

// absent reports whether there is no such row.
func absent(err error) bool { return errors.Is(err, store.ErrNotFound) }
