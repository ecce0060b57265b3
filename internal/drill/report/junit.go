package report

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"strings"

	"nsqraft/internal/drill/history"
)

// The form of junit.xml, as CI servers read it: a case for each claim. What is
// inconclusive is an error, not a failure; what was not tested is skipped.
type (
	suites struct {
		XMLName  xml.Name `xml:"testsuites"`
		Name     string   `xml:"name,attr"`
		Tests    int      `xml:"tests,attr"`
		Failures int      `xml:"failures,attr"`
		Errors   int      `xml:"errors,attr"`
		Skipped  int      `xml:"skipped,attr"`
		Time     string   `xml:"time,attr"`
		Suite    suite    `xml:"testsuite"`
	}
	suite struct {
		Name       string     `xml:"name,attr"`
		Tests      int        `xml:"tests,attr"`
		Failures   int        `xml:"failures,attr"`
		Errors     int        `xml:"errors,attr"`
		Skipped    int        `xml:"skipped,attr"`
		Time       string     `xml:"time,attr"`
		Timestamp  string     `xml:"timestamp,attr"`
		Properties []property `xml:"properties>property"`
		Cases      []testCase `xml:"testcase"`
	}
	property struct {
		Name  string `xml:"name,attr"`
		Value string `xml:"value,attr"`
	}
	testCase struct {
		Class   string   `xml:"classname,attr"`
		Name    string   `xml:"name,attr"`
		Time    string   `xml:"time,attr"`
		Failure *problem `xml:"failure"`
		Error   *problem `xml:"error"`
		Skipped *problem `xml:"skipped"`
		Output  string   `xml:"system-out,omitempty"`
	}
	problem struct {
		Message string `xml:"message,attr"`
		Type    string `xml:"type,attr,omitempty"`
		Text    string `xml:",chardata"`
	}
)

func (r *Report) junit() ([]byte, error) {
	j := r.document()
	s := suite{Name: strings.TrimSpace("nsqdrill " + oneLine(j.Run.Profile)), Timestamp: j.Run.Started.UTC().Format("2006-01-02T15:04:05"), Time: fmt.Sprintf("%.3f", j.Run.Length),
		Properties: []property{{"command", plain(j.Run.Command)}, {"seed", fmt.Sprint(j.Run.Seed)}, {"verdict", j.Verdict.Sentence}}}
	for _, c := range r.Claims {
		tc := caseOf(c)
		switch {
		case tc.Failure != nil:
			s.Failures++
		case tc.Error != nil:
			s.Errors++
		case tc.Skipped != nil:
			s.Skipped++
		}
		s.Cases = append(s.Cases, tc)
	}
	if r.Broken != "" {
		s.Errors++
		s.Cases = append(s.Cases, testCase{Class: "nsqdrill.run", Name: "the run ends well", Time: "0", Error: &problem{Message: oneLine(r.Broken), Type: "broken"}})
	}
	s.Tests = len(s.Cases)
	all := suites{Name: s.Name, Tests: s.Tests, Failures: s.Failures, Errors: s.Errors, Skipped: s.Skipped, Time: s.Time, Suite: s}
	var b bytes.Buffer
	b.WriteString(xml.Header)
	e := xml.NewEncoder(&b)
	e.Indent("", " ")
	if err := e.Encode(all); err != nil {
		return nil, err
	}
	b.WriteByte('\n')
	return b.Bytes(), nil
}

func caseOf(c history.Claim) testCase {
	class, name, ok := strings.Cut(oneLine(c.ID), "/")
	if !ok {
		class, name = "claim", class
	}
	tc := testCase{Class: "nsqdrill." + class, Name: name, Time: fmt.Sprintf("%.3f", c.Took), Output: plain(c.Title) + "\n" + plain(c.Evidence)}
	if c.Observed != "" {
		tc.Output += "\n" + plain(c.Observed)
	}
	var texts []string
	for _, v := range c.Violations {
		texts = append(texts, plain(v))
	}
	p := &problem{Message: oneLine(c.Title), Type: string(c.Status), Text: strings.Join(texts, "\n")}
	switch c.Status {
	case history.Violated, history.Missed:
		tc.Failure = p
	case history.Inconclusive:
		p.Message = oneLine(c.Evidence)
		tc.Error = p
	case history.NotTested:
		tc.Skipped = &problem{Message: oneLine(c.Evidence)}
	}
	return tc
}
