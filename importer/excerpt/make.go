//go:build ignore

// Make selects the excerpt from the whole data set:
//
//	go run make.go PATH/TO/online-retail.csv.gz > online-retail-excerpt.csv
//
// The same file gives the same excerpt. README.md says what is selected.
package main

import (
	"compress/gzip"
	"encoding/csv"
	"fmt"
	"io"
	"log"
	"os"
	"strings"
)

// Columns of the data set that are looked at.
const (
	invoiceNo = iota
	stockCode
	_
	quantity
	invoiceDate
	_
	customerID
	country
)

// named invoices are the traps that no rule below finds.
var named = []string{
	"542806",                        // its rows do not stand together
	"A563185", "A563186", "A563187", // adjustments, two with a negative price
	"550193", "561226", "568200", "568375", // prices of three decimals, totals below a penny
	"573585", // the longest, and with stock codes that differ by case only
}

type invoice struct {
	number string
	rows   [][]string
	at     []int // of the rows in the file
}

func main() {
	log.SetFlags(0)
	if len(os.Args) != 2 {
		log.Fatal("usage: go run make.go PATH")
	}
	file, err := os.Open(os.Args[1])
	check(err)
	var r io.Reader = file
	if strings.HasSuffix(os.Args[1], ".gz") {
		r, err = gzip.NewReader(file)
		check(err)
	}
	rows, err := csv.NewReader(r).ReadAll()
	check(err)
	header, rows := rows[0], rows[1:]

	var all []*invoice
	byNumber := map[string]*invoice{}
	for i, row := range rows {
		inv := byNumber[row[invoiceNo]]
		if inv == nil {
			inv = &invoice{number: row[invoiceNo]}
			byNumber[inv.number] = inv
			all = append(all, inv)
		}
		inv.rows, inv.at = append(inv.rows, row), append(inv.at, i)
	}

	chosen := map[string]bool{}
	for _, number := range named {
		inv := byNumber[number]
		for _, row := range rows[inv.at[0]:inv.at[len(inv.at)-1]] {
			chosen[row[invoiceNo]] = true // with what stands between its rows
		}
		chosen[number] = true
	}
	// take chooses the first n invoices of at most size rows that fit.
	take := func(n, size int, fits func(*invoice) bool) {
		for _, inv := range all {
			if n > 0 && len(inv.rows) <= size && fits(inv) {
				chosen[inv.number] = true
				n--
			}
		}
	}
	take(100, 30, func(inv *invoice) bool { return inv.differ(invoiceDate) })
	take(12, 30, func(inv *invoice) bool { return inv.plain() && inv.rows[0][quantity][0] == '-' })
	take(15, 15, (*invoice).repeats)
	take(20, 20, func(inv *invoice) bool { return inv.plain() && inv.rows[0][customerID] == "" })
	for _, code := range []string{"85123A", "85123a", "82494L", "82494l", "POST", "D", "M", "BANK CHARGES"} {
		take(2, 20, func(inv *invoice) bool { return inv.has(code) })
	}
	seen := map[string]bool{}
	for _, inv := range all {
		place := inv.rows[0][country]
		if seen[place] {
			continue
		}
		seen[place] = true
		take(3, 25, func(inv *invoice) bool { return inv.plain() && inv.rows[0][country] == place })
		take(1, 25, func(inv *invoice) bool { return inv.number[0] == 'C' && inv.rows[0][country] == place })
		if !anyChosen(all, chosen, place) {
			take(1, 1<<20, func(inv *invoice) bool { return inv.rows[0][country] == place })
		}
	}
	for i := 0; i < len(all); i += 200 { // and some of everything
		if len(all[i].rows) <= 25 {
			chosen[all[i].number] = true
		}
	}

	w := csv.NewWriter(os.Stdout)
	check(w.Write(header))
	for _, row := range rows {
		if chosen[row[invoiceNo]] {
			check(w.Write(row))
		}
	}
	w.Flush()
	check(w.Error())
	fmt.Fprintln(os.Stderr, len(chosen), "invoices of", len(all))
}

// plain: neither a credit note nor an adjustment.
func (inv *invoice) plain() bool { return inv.number[0] >= '0' && inv.number[0] <= '9' }

func (inv *invoice) differ(column int) bool {
	for _, row := range inv.rows {
		if row[column] != inv.rows[0][column] {
			return true
		}
	}
	return false
}

func (inv *invoice) has(code string) bool {
	for _, row := range inv.rows {
		if row[stockCode] == code {
			return true
		}
	}
	return false
}

func (inv *invoice) repeats() bool {
	seen := map[string]bool{}
	for _, row := range inv.rows {
		key := strings.Join(row, "\x00")
		if seen[key] {
			return true
		}
		seen[key] = true
	}
	return false
}

func anyChosen(all []*invoice, chosen map[string]bool, place string) bool {
	for _, inv := range all {
		if chosen[inv.number] && inv.rows[0][country] == place {
			return true
		}
	}
	return false
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
