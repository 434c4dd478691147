package events

// ErasureRequested: somebody asked over the API that everything about a caller
// or a call be erased. Whoever writes rows carries it out; what comes of it is
// told at /v1/erasures/<erasure>.
type ErasureRequested struct {
	Erasure string `json:"erasure"`       // id of the request
	Kind    string `json:"kind"`          // caller, call
	Ref     string `json:"ref,omitempty"` // keyed hash of the caller's number
	By      string `json:"by"`
}

// Name is "erasure.requested".
func (ErasureRequested) Name() string { return "erasure.requested" }

func (f ErasureRequested) identity() []string { return []string{f.Erasure} }
