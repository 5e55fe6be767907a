package main

import (
	"io"
	"slices"
	"strings"

	"github.com/mattn/go-runewidth"
)

// grid is text in columns that line up on a terminal, also where a character
// takes two places of it. Cells are shown on one line, whoever wrote them.
type grid struct {
	indent string
	rows   [][]string
}

func (g *grid) row(cells ...string) {
	for i, c := range cells {
		cells[i] = oneLine(c)
	}
	g.rows = append(g.rows, cells)
}

// writeTo writes the rows; each column is as wide as its widest cell, of those
// that another one follows.
func (g *grid) writeTo(w io.Writer) error {
	var widths []int
	for _, cells := range g.rows {
		for i := range len(cells) - 1 {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], shownWidth(cells[i]))
		}
	}
	var b strings.Builder
	for _, cells := range g.rows {
		line := g.indent
		for i, c := range cells {
			line += c
			if i < len(cells)-1 {
				line += strings.Repeat(" ", widths[i]-shownWidth(c)+2)
			}
		}
		b.WriteString(strings.TrimRight(line, " ") + "\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// terminal says how many places characters take; it does not depend on the
// language of the environment.
func terminal() *runewidth.Condition { return &runewidth.Condition{StrictEmojiNeutral: true} }

func shownWidth(text string) int { return terminal().StringWidth(text) }

// shortened cuts text that takes more places than that.
func shortened(text string, most int) string { return terminal().Truncate(text, most, "…") }

// column of a table of rows R.
type column[R any] struct {
	title string
	cell  func(R) string
}

func when[R any](wanted bool, cell func(R) string) func(R) string {
	if wanted {
		return cell
	}
	return func(R) string { return "" }
}

// writeTable leaves out the columns that are empty in every row.
func writeTable[R any](w io.Writer, rows []R, columns []column[R]) error {
	columns = slices.DeleteFunc(columns, func(c column[R]) bool {
		return !slices.ContainsFunc(rows, func(r R) bool { return c.cell(r) != "" })
	})
	if len(columns) == 0 {
		return nil
	}
	var g grid
	line := func(cell func(column[R]) string) {
		var cells []string
		for _, c := range columns {
			cells = append(cells, cell(c))
		}
		g.row(cells...)
	}
	line(func(c column[R]) string { return c.title })
	for _, r := range rows {
		line(func(c column[R]) string { return c.cell(r) })
	}
	return g.writeTo(w)
}
