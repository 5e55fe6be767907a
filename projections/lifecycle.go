package projections

import (
	"errors"
	"time"

	"github.com/docket-orders/docket/eventstore"
)

// Then says what becomes of a generation once it has been rebuilt.
type Then string

const (
	// ThenAsk waits for somebody to switch, or to cancel.
	ThenAsk Then = "ask"
	// ThenSwitch switches at once.
	ThenSwitch Then = "switch"
	// ThenSwitchIfEqual switches when nothing differs, and asks otherwise.
	ThenSwitchIfEqual Then = "switch-if-equal"
	// ThenSwitchOnly switches when nothing but the fields that are named differs,
	// and asks otherwise.
	ThenSwitchOnly Then = "switch-only"
)

// Request asks for a rebuild. The zero value asks for one that waits to be
// switched, at a pace that leaves live traffic its latency.
type Request struct {
	Then Then
	// Fields that may differ with ThenSwitchOnly: paths of the order document
	// as a Diff counts them, with all that is below them.
	Fields []string
	// Share of this machine that the build may take, above 0, at most 1; 0: the
	// usual. 1 is unthrottled.
	Share float64
	// Reason, for whoever reads the history; may be empty.
	Reason string
}

// Rebuild is what is known of one: the generation that it makes is its name.
type Rebuild struct {
	Generation int        `json:"generation"`
	Version    int        `json:"version"`
	Stores     []string   `json:"stores"`
	Then       Then       `json:"then"`
	Fields     []string   `json:"fields,omitempty"`
	Reason     string     `json:"reason,omitempty"`
	Owner      string     `json:"owner"` // who asked
	StartedAt  time.Time  `json:"startedAt"`
	EndedAt    *time.Time `json:"endedAt,omitempty"`
	Phase      Phase      `json:"phase"`
	// Progress of the store that is least far, while it runs.
	Progress *Progress `json:"progress,omitempty"`
	// Failure is why it failed, or why it has not switched though it was to.
	Failure *Failure `json:"failure,omitempty"`
}

// Phase of a rebuild.
type Phase string

const (
	PhaseReading   Phase = "reading"   // the log is dealt out to files
	PhaseFolding   Phase = "folding"   // the files are folded into documents
	PhaseFollowing Phase = "following" // what came meanwhile is applied
	PhaseComparing Phase = "comparing" // with the generation that is served
	PhaseReady     Phase = "ready"     // it is kept up to date, and waits for a switch
	PhaseSwitched  Phase = "switched"
	PhaseFailed    Phase = "failed"
	PhaseCancelled Phase = "cancelled"
)

// Over reports whether nothing more becomes of the rebuild by itself.
func (p Phase) Over() bool {
	return p == PhaseReady || p == PhaseSwitched || p == PhaseFailed || p == PhaseCancelled
}

// Failure is what stopped a rebuild, with the event that did, where one did.
type Failure struct {
	Message  string              `json:"message"`
	Store    string              `json:"store,omitempty"`
	OrderID  string              `json:"orderId,omitempty"`
	Revision int64               `json:"revision,omitempty"`
	Position eventstore.Position `json:"position,omitzero"`
	Type     string              `json:"type,omitempty"` // of the event
}

var (
	// ErrNoCandidate: no generation waits to be switched to.
	ErrNoCandidate = errors.New("no rebuilt generation waits to be switched to")
	// ErrAnotherCandidate: another generation waits than the one that was meant.
	ErrAnotherCandidate = errors.New("another generation waits to be switched to")
	// ErrOlderProgram: a generation was made by a newer program, which rebuilds it,
	// and compares it with others.
	ErrOlderProgram = errors.New("the views were made by a newer docket, which rebuilds and compares them")
	// ErrNotReady: the generation has not caught up yet.
	ErrNotReady = errors.New("the generation has not caught up yet")
	// ErrNoPrevious: there is no earlier generation to return to.
	ErrNoPrevious = errors.New("there is no earlier generation to return to")
	// ErrStale: the generation is not kept up to date any more.
	ErrStale = errors.New("the generation is frozen: no running docket carries the version that feeds it")
	// ErrServed: the generation is the one in force.
	ErrServed = errors.New("the generation is in force")
	// ErrNoGeneration: there is no such generation.
	ErrNoGeneration = errors.New("there is no such generation")
)
