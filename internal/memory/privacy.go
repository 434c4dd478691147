package memory

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"go.uber.org/zap"

	"neurosphere.ai/neurosphere/internal/privacy"
	"neurosphere.ai/neurosphere/internal/store"
)

const pageHTML = "text/html"

func (s *service) privacyRoutes(a *api) {
	route(a, huma.Operation{
		Method: http.MethodGet, Path: "/v1/callers/{phone}/export", OperationID: "export-caller", Summary: "Everything kept about a caller, as JSON or as a page to read",
		Description: "The document is neurosphere.ai/export/caller/v1, which only grows. Numbers that are kept sealed are in it, opened.",
		Responses: map[string]*huma.Response{"200": {Description: "OK", Content: map[string]*huma.MediaType{
			"application/json": {Schema: &huma.Schema{Type: huma.TypeObject, AdditionalProperties: true}},
			pageHTML:           {Schema: &huma.Schema{Type: huma.TypeString, Description: "A page that needs nothing beside it"}},
		}}},
	}, s.exportCaller)
	route(a, huma.Operation{
		Method: http.MethodGet, Path: "/v1/callers/{phone}/erasure", OperationID: "plan-erasure", Summary: "What erasing a caller would remove, counted; nothing is changed",
	}, s.planErasure)
	const asked = "It is carried out at once, elsewhere; GET /v1/erasures/{erasure_id} tells how far it is. Asking again while it is is the same request. "
	route(a, huma.Operation{
		Method: http.MethodDelete, Path: "/v1/callers/{phone}", OperationID: "erase-caller", Summary: "Erase everything about a caller, for good", DefaultStatus: http.StatusAccepted,
		Description: asked + "A call of theirs that is under way is waited for. Who phones again afterwards is a new caller.",
	}, s.eraseCaller)
	route(a, huma.Operation{
		Method: http.MethodDelete, Path: "/v1/calls/{call_id}", OperationID: "erase-call", Summary: "Erase everything about one call, for good", DefaultStatus: http.StatusAccepted,
		Description: asked + "What other calls said about its caller stays.",
	}, s.eraseCall)
	route(a, huma.Operation{
		Method: http.MethodGet, Path: "/v1/erasures/{erasure_id}", OperationID: "get-erasure", Summary: "How far an erasure is, and its certificate once it is done",
	}, s.getErasure)
}

type exportCallerIn struct {
	CustomerQuery
	PhonePath
	Format string `query:"format" enum:"json,html" doc:"Absent: as Accept says, else json"`
	Accept string `header:"Accept" doc:"text/html for a page to read"`
}

type exportOut struct {
	ContentType  string `header:"Content-Type"`
	CacheControl string `header:"Cache-Control"`
	Sniff        string `header:"X-Content-Type-Options"`
	Policy       string `header:"Content-Security-Policy"` // loads nothing, runs nothing
	Body         []byte
}

func (s *service) exportCaller(ctx context.Context, who asker, in *exportCallerIn) (*exportOut, error) {
	user, err := caller("path.phone", in.Phone)
	if err != nil {
		return nil, err
	}
	ctx, done, err := s.searching(ctx, who.tenant)
	if err != nil {
		return nil, err
	}
	defer done()
	d, err := s.privacy.Export(ctx, who.tenant, user)
	if err != nil {
		return nil, err
	}
	out := &exportOut{ContentType: "application/json", CacheControl: "no-store", Sniff: "nosniff", Policy: "default-src 'none'; style-src 'unsafe-inline'"}
	if in.Format == "html" || in.Format == "" && strings.Contains(in.Accept, pageHTML) {
		var page bytes.Buffer
		err = d.HTML(&page)
		out.ContentType, out.Body = pageHTML+"; charset=utf-8", page.Bytes()
	} else {
		out.Body, err = json.Marshal(d)
	}
	s.log.Info("caller exported", zap.Stringer("tenant", who.tenant), zap.String("key_id", who.key))
	return out, err
}

// kept counts what there is.
type kept struct {
	Rows  map[string]int64 `json:"rows" doc:"By table"`
	Facts map[string]int64 `json:"facts" doc:"Of the log, by name"`
	Calls []string         `json:"calls"`
}

func keptOf(p privacy.Plan) kept { return kept{p.Rows, p.Facts, p.Calls} }

type planOut struct {
	Body struct {
		Success    bool   `json:"success"`
		CustomerID int32  `json:"customer_id"`
		UserID     string `json:"user_id"`
		Plan       kept   `json:"plan"`
	}
}

func (s *service) planErasure(ctx context.Context, who asker, in *phoneIn) (*planOut, error) {
	user, err := caller("path.phone", in.Phone)
	if err != nil {
		return nil, err
	}
	ctx, done, err := s.searching(ctx, who.tenant)
	if err != nil {
		return nil, err
	}
	defer done()
	p, err := s.privacy.Plan(ctx, privacy.Request{Tenant: who.tenant, Caller: user, By: by(who, "")})
	if err == nil && p.Empty() {
		err = privacy.ErrNothing
	}
	if err != nil {
		return nil, err
	}
	out := &planOut{}
	out.Body.Success, out.Body.CustomerID, out.Body.UserID, out.Body.Plan = true, int32(who.tenant), user, keptOf(p)
	return out, nil
}

// erasure is how far a request is. It names a caller by a keyed hash.
type erasure struct {
	ID          string     `json:"erasure_id"`
	Kind        string     `json:"kind" enum:"caller,call,tenant"`
	State       string     `json:"state" enum:"asked,erasing,erased,done" doc:"erased: nothing of it can be read any more, and its bytes go from the files within about an hour; done: they are gone"`
	Held        bool       `json:"held,omitempty" doc:"The customer's data is on hold: it waits for that to end"`
	Ref         string     `json:"ref,omitempty" doc:"Keyed hash of the caller's number"`
	Calls       []string   `json:"calls" doc:"That go with it, as far as they are known"`
	By          string     `json:"asked_by"`
	RequestedAt time.Time  `json:"requested_at"`
	FinishedAt  *time.Time `json:"finished_at,omitempty"`
	Certificate object     `json:"certificate" doc:"neurosphere.ai/erasure-certificate/v1; empty until it is done"`
}

func erasureOf(e store.Erasure) erasure {
	out := erasure{ID: e.ID, Kind: e.Kind, State: privacy.Public(e.State), Ref: e.Ref, Calls: append([]string{}, e.Calls...), By: e.By, RequestedAt: e.Requested.UTC(), FinishedAt: utc(e.Finished)}
	if e.State == privacy.StateDone {
		out.Certificate = object(e.Certificate)
	}
	return out
}

type eraseCallerIn struct {
	CustomerQuery
	PhonePath
	By string `query:"by" maxLength:"100" doc:"Who of your people asks for it"`
}

type eraseOut struct {
	Location string `header:"Location"`
	Body     struct {
		Success    bool    `json:"success"`
		CustomerID int32   `json:"customer_id"`
		Erasure    erasure `json:"erasure"`
		Plan       kept    `json:"plan" doc:"What there is to remove"`
	}
}

func (s *service) eraseCaller(ctx context.Context, who asker, in *eraseCallerIn) (*eraseOut, error) {
	user, err := caller("path.phone", in.Phone)
	if err != nil {
		return nil, err
	}
	return s.erase(ctx, who, privacy.Request{Tenant: who.tenant, Caller: user, By: by(who, in.By)})
}

type eraseCallIn struct {
	CustomerQuery
	CallID string `path:"call_id" maxLength:"64"`
	By     string `query:"by" maxLength:"100" doc:"Who of your people asks for it"`
}

func (s *service) eraseCall(ctx context.Context, who asker, in *eraseCallIn) (*eraseOut, error) {
	return s.erase(ctx, who, privacy.Request{Tenant: who.tenant, Call: plain(in.CallID), By: by(who, in.By)})
}

// erase has something erased by whoever has the ledger. What there is goes
// meanwhile, whatever becomes of this process.
func (s *service) erase(ctx context.Context, who asker, r privacy.Request) (*eraseOut, error) {
	ctx, done, err := s.searching(ctx, who.tenant)
	if err != nil {
		return nil, err
	}
	defer done()
	record, plan, err := s.privacy.Ask(ctx, r)
	if err != nil {
		return nil, err
	}
	s.log.Info("erasure asked for", zap.Stringer("tenant", who.tenant), zap.String("key_id", who.key), zap.String("erasure", record.ID))
	out := &eraseOut{Location: "/v1/erasures/" + record.ID + "?customer_id=" + who.tenant.String()}
	out.Body.Success, out.Body.CustomerID, out.Body.Erasure, out.Body.Plan = true, int32(who.tenant), erasureOf(record), keptOf(plan)
	return out, nil
}

type getErasureIn struct {
	CustomerQuery
	ID string `path:"erasure_id" maxLength:"100"`
}

type getErasureOut struct {
	Body struct {
		Success    bool    `json:"success"`
		CustomerID int32   `json:"customer_id"`
		Erasure    erasure `json:"erasure"`
	}
}

func (s *service) getErasure(ctx context.Context, who asker, in *getErasureIn) (*getErasureOut, error) {
	record, err := who.rows.Erasure(ctx, plain(in.ID))
	if err != nil {
		return nil, err
	}
	set, err := s.store.Settings(ctx, who.tenant)
	if err != nil {
		return nil, err
	}
	out := &getErasureOut{}
	out.Body.Success, out.Body.CustomerID, out.Body.Erasure = true, int32(who.tenant), erasureOf(record)
	out.Body.Erasure.Held = privacy.LimitsOf(set).Hold && (record.State == privacy.StateAsked || record.State == privacy.StateErasing)
	return out, nil
}
