package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/docket-orders/docket/httpapi"
)

type modelsGroup struct {
	List  modelsList  `cmd:"" help:"The read models of this docket, and what may be asked of them."`
	Ask   modelsAsk   `cmd:"" help:"Ask a read model."`
	Order modelsOrder `cmd:"" help:"Show what a read model keeps of an order."`
}

type modelsList struct{}

// Run lists the read models.
func (modelsList) Run(p *program) error {
	var list httpapi.ReadModelsAnswer
	return p.asked("/v1/read-models", &list, func(w io.Writer) error {
		if len(list.Items) == 0 {
			_, err := fmt.Fprintln(w, "there are none: cmd/docket/readmodels.go says how one is added")
			return err
		}
		var g grid
		g.row("READ MODEL", "VERSION", "QUESTION", "PARAMETERS", "")
		for _, m := range list.Items {
			g.row(m.Name, fmt.Sprint(m.Version), "order ID", "", "What it keeps of an order.")
			for _, q := range m.Questions {
				params := make([]string, len(q.Parameters))
				for i, param := range q.Parameters {
					params[i] = parameterWords(param)
				}
				g.row(m.Name, fmt.Sprint(m.Version), q.Name, strings.Join(params, " "), q.Doc)
			}
		}
		return g.writeTo(w)
	})
}

// parameterWords is how a parameter is typed; one that need not be given stands in
// brackets.
func parameterWords(p httpapi.ParameterAnswer) string {
	said := p.Name + "=TEXT"
	if p.Min != nil && p.Max != nil {
		said = fmt.Sprintf("%s=%d..%d", p.Name, *p.Min, *p.Max)
	}
	if p.Required {
		return said
	}
	return "[" + said + "]"
}

type modelsAsk struct {
	Name       pathName `arg:"" help:"Name of the read model."`
	Question   pathName `arg:"" help:"One of its questions; docket read-models list has them."`
	Parameters []string `arg:"" optional:"" name:"param=value" help:"What the question takes, and for pages limit=N and cursor=CURSOR."`
}

// Validate checks what needs no docket. What parameters may be is the API's to say.
func (c *modelsAsk) Validate() error {
	for _, param := range c.Parameters {
		if name, _, pair := strings.Cut(param, "="); !pair || name == "" {
			return fmt.Errorf("%.80q: want a parameter as NAME=VALUE", param)
		}
	}
	return nil
}

// Run asks; with --json the body of the API.
func (c *modelsAsk) Run(p *program) error {
	given := url.Values{}
	for _, param := range c.Parameters {
		name, value, _ := strings.Cut(param, "=")
		given.Add(name, value)
	}
	path := modelPath(c.Name, url.PathEscape(string(c.Question)))
	if len(given) > 0 {
		path += "?" + given.Encode()
	}
	var answer json.RawMessage
	return p.asked(path, &answer, func(w io.Writer) error { return writeAnswer(w, answer) })
}

type modelsOrder struct {
	Name pathName `arg:"" help:"Name of the read model."`
	ID   orderID  `arg:"" help:"The order's id."`
}

// Run shows the document of one order; with --json the body of the API.
func (c *modelsOrder) Run(p *program) error {
	var answer httpapi.ModelDocumentAnswer
	return p.asked(modelPath(c.Name, "orders/"+url.PathEscape(string(c.ID))), &answer, func(w io.Writer) error {
		var g grid
		g.row("order", fmt.Sprintf("%s, revision %d", answer.OrderID, answer.Revision))
		for _, f := range membersOf(answer.Document) {
			g.row(f.name, inWords(f.value))
		}
		err := g.writeTo(w)
		if answer.Degraded != nil {
			fmt.Fprintf(w, "it stands still before revision %d: %s\n", answer.Degraded.Revision, oneLine(answer.Degraded.Reason))
		}
		return err
	})
}

func modelPath(name pathName, what string) string {
	return "/v1/read-models/" + url.PathEscape(string(name)) + "/" + what
}

// modelPage is a page of documents, as most questions answer.
type modelPage struct {
	Items []httpapi.ModelDocumentAnswer `json:"items"`
	Total *int64                        `json:"total"`
	Next  string                        `json:"next"`
}

// writeAnswer writes a page, or a list of objects, as a table, and what else a
// question answers in words.
func writeAnswer(w io.Writer, answer json.RawMessage) error {
	var page modelPage
	if json.Unmarshal(answer, &page) == nil && page.Items != nil {
		return writePage(w, page)
	}
	var list []json.RawMessage
	if json.Unmarshal(answer, &list) != nil || list == nil {
		list = []json.RawMessage{answer}
	}
	rows := make([][]member, len(list))
	for i, one := range list {
		rows[i] = membersOf(one)
	}
	return writeMembers(w, rows)
}

func writePage(w io.Writer, page modelPage) error {
	rows := make([][]member, len(page.Items))
	for i, item := range page.Items {
		id, err := json.Marshal(item.OrderID)
		if err != nil {
			return err
		}
		rows[i] = append([]member{{"order", id}}, membersOf(item.Document)...)
	}
	if err := writeMembers(w, rows); err != nil {
		return err
	}
	said := plural(int64(len(page.Items)), "order")
	if page.Total != nil {
		said = fmt.Sprintf("%s of %s", grouped(int64(len(page.Items))), plural(*page.Total, "order"))
	}
	if page.Next != "" {
		said += "; go on with cursor=" + page.Next
	}
	_, err := fmt.Fprintln(w, said)
	return err
}

// writeMembers writes objects as a table with a column per name.
func writeMembers(w io.Writer, rows [][]member) error {
	var names []string
	for _, row := range rows {
		for _, m := range row {
			if !slices.Contains(names, m.name) {
				names = append(names, m.name)
			}
		}
	}
	if len(names) == 0 {
		return nil
	}
	var g grid
	titles := make([]string, len(names))
	for i, name := range names {
		titles[i] = strings.ToUpper(name)
	}
	g.row(titles...)
	for _, row := range rows {
		cells := make([]string, len(names))
		for _, m := range row {
			cells[slices.Index(names, m.name)] = shortened(inWords(m.value), shownValue)
		}
		g.row(cells...)
	}
	return g.writeTo(w)
}

// member is one of an object, in its order.
type member struct {
	name  string
	value json.RawMessage
}

// membersOf an object; of what is none, the whole under the name value.
func membersOf(value json.RawMessage) (all []member) {
	d := jsontext.NewDecoder(strings.NewReader(string(value)))
	if d.PeekKind() != '{' {
		return []member{{"value", value}}
	}
	_, _ = d.ReadToken()
	for d.PeekKind() != '}' {
		name, err := d.ReadToken()
		if err != nil {
			break
		}
		text := name.String() // before the next read
		one, err := d.ReadValue()
		if err != nil {
			break
		}
		all = append(all, member{text, json.RawMessage(slices.Clone(one))})
	}
	return all
}
