package history

// A Status is how a claim came out.
type Status string

const (
	Holds        Status = "holds"
	Violated     Status = "violated"
	Missed       Status = "missed"       // a bound: safe, but slower or less often than promised
	Inconclusive Status = "inconclusive" // too few observations, a fault without effect, a checker that ran out of time or memory
	NotTested    Status = "not tested"
)

// A Claim is what a checker says.
type Claim struct {
	ID         string   `json:"id"`     // as "registry/no-lost-registration"
	Title      string   `json:"title"`  // a sentence
	Safety     bool     `json:"safety"` // no mere bound: if it does not hold it is Violated, not Missed
	Bound      string   `json:"bound,omitempty"`
	Observed   string   `json:"observed,omitempty"`
	Stated     int      `json:"stated,omitempty"` // losses that the claim allows for and names in Observed
	Status     Status   `json:"status"`
	Evidence   string   `json:"evidence"`             // what was looked at, with counts
	Violations []string `json:"violations,omitempty"` // a sentence each, at most 20
	Took       float64  `json:"took_seconds"`
	Picture    string   `json:"picture,omitempty"` // file name of porcupine's page
}
