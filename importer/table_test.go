package importer_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/docket-orders/docket/domain/order"
	"github.com/docket-orders/docket/importer"
	"github.com/docket-orders/docket/view"
)

type viewAnomaly = view.Anomaly

const retailHeader = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n"

const retailRow = "536365,85123A,WHITE HANGING HEART,6,2010-12-01 08:26:00,2.55,17850,United Kingdom\n"

func zipped(t testing.TB, text string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestMalformedFiles: an import ends with the place of the fault, before
// anything is sent.
func TestMalformedFiles(t *testing.T) {
	long := retailHeader + strings.Repeat(retailRow, 5000)
	cut := zipped(t, long)
	cut = cut[:len(cut)/2]
	flipped := []byte(zipped(t, long))
	flipped[len(flipped)-6] ^= 1 // the checksum
	for _, c := range []struct{ name, file, text, want string }{
		{"empty", "r.csv", "", "r.csv, line 1, column 1: the file is empty; its first line must name the columns InvoiceNo,"},
		{"missing column", "r.csv", strings.Replace(retailHeader, "UnitPrice", "Price", 1) + retailRow,
			"r.csv, line 1, column 1: column UnitPrice is missing; there are InvoiceNo, StockCode"},
		{"column twice", "r.csv", strings.Replace(retailHeader, "StockCode", "Country", 1) + retailRow,
			"r.csv, line 1, column 1: column StockCode is missing"},
		{"the same column twice", "r.csv", strings.TrimSpace(retailHeader) + ",Country\n",
			"r.csv, line 1, column 83: column Country is there twice"},
		{"a field too few", "r.csv", retailHeader + retailRow + "536365,85123A\n",
			"r.csv, line 3, column 1: the row has another number of fields than the header"},
		{"cut off in a row", "r.csv", retailHeader + retailRow + retailRow[:40],
			"r.csv, line 3, column 1: the row has another number of fields"},
		{"bare quote", "r.csv", retailHeader + strings.Replace(retailRow, "HANGING", `7" HANGING`, 1),
			`r.csv, line 2, column 22: a quote (") inside a field that does not begin with one`},
		{"quote never closed", "r.csv", retailHeader + strings.Replace(retailRow, "WHITE", `"WHITE`, 1) + retailRow,
			`a quote (") is missing or one too many, in the row that begins on line 2`},
		{"text after a quote", "r.csv", retailHeader + strings.Replace(retailRow, "WHITE HANGING HEART", `"WHITE" HEART`, 1),
			`r.csv, line 2, column 21: a quote (") is missing or one too many`},
		{"bad quantity", "r.csv", retailHeader + retailRow + strings.Replace(retailRow, ",6,", ",six,", 1),
			`r.csv, line 3, column 35 (Quantity): "six" is not a whole number such as 12`},
		{"quantity with decimals", "r.csv", retailHeader + strings.Replace(retailRow, ",6,", ",6.0,", 1),
			`(Quantity): "6.0" is not a whole number such as 12`},
		{"quantity beyond 64 bits", "r.csv", retailHeader + strings.Replace(retailRow, ",6,", ",9223372036854775808,", 1),
			`(Quantity): "9223372036854775808" is not a whole number`},
		{"bad price", "r.csv", retailHeader + strings.Replace(retailRow, "2.55", "2;55", 1),
			`r.csv, line 2, column 57 (UnitPrice): "2;55" is not a number such as 12.34`},
		{"price with an exponent", "r.csv", retailHeader + strings.Replace(retailRow, "2.55", "1e3", 1),
			`(UnitPrice): "1e3" is not a number such as 12.34`},
		{"price with too many decimals", "r.csv", retailHeader + strings.Replace(retailRow, "2.55", "0.1234567", 1),
			`(UnitPrice): "0.1234567" is a number with more than 6 decimals`},
		{"price too large", "r.csv", retailHeader + strings.Replace(retailRow, "2.55", "99999999999999999999", 1),
			`(UnitPrice): "99999999999999999999" is too large a number`},
		{"no price", "r.csv", retailHeader + strings.Replace(retailRow, "2.55", "", 1),
			`(UnitPrice): "" is not a number such as 12.34`},
		{"bad date", "r.csv", retailHeader + strings.Replace(retailRow, "2010-12-01", "2010-02-30", 1),
			`r.csv, line 2, column 37 (InvoiceDate): "2010-02-30 08:26:00" is not a time such as 2006-01-02 15:04:05`},
		{"date of another form", "r.csv", retailHeader + strings.Replace(retailRow, "2010-12-01 08:26:00", "12/1/2010 8:26", 1),
			`(InvoiceDate): "12/1/2010 8:26" is not a time`},
		{"date with a fraction", "r.csv", retailHeader + strings.Replace(retailRow, "08:26:00", "08:26:00.5", 1),
			`(InvoiceDate): "2010-12-01 08:26:00.5" is not a time`},
		{"Latin-1", "r.csv", retailHeader + retailRow + strings.Replace(retailRow, "HEART", "C\xc6UR", 1),
			"r.csv, line 3, column 30: not UTF-8 (byte 0xc6); save the file as UTF-8"},
		{"UTF-16", "r.csv", "\xff\xfeI\x00n\x00", "r.csv, line 1, column 1: the file is UTF-16; save it as UTF-8"},
		{"not gzip", "r.csv.gz", retailHeader + retailRow, "r.csv.gz: not a gzip file, or its beginning is damaged"},
		{"gzip cut off", "r.csv.gz", cut, "the compressed file ends in the middle; it is cut off"},
		{"gzip damaged", "r.csv.gz", string(flipped), "r.csv.gz, line 5002, column 1: the compressed file is damaged"},
	} {
		t.Run(c.name, func(t *testing.T) {
			file := filepath.Join(write(t, map[string]string{c.file: c.text}), c.file)
			_, err := importer.OnlineRetail(context.Background(), file, silent{t}, importer.Options{})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got  %v\nwant %s", err, c.want)
			}
		})
	}
	for _, c := range []struct{ name, file, old, new, want string }{
		{"bad purchase time", "olist_orders_dataset.csv", "2017-10-02 10:56:33", "",
			`olist_orders_dataset.csv, line 2, column 20 (order_purchase_timestamp): "" is not a time such as`},
		{"bad approval", "olist_orders_dataset.csv", "2017-10-05 09:00:00", "soon",
			`olist_orders_dataset.csv, line 3, column 38 (order_approved_at): "soon" is not a time`},
		{"bad estimate", "olist_orders_dataset.csv", "2017-10-18 00:00:00", "2017-10-18",
			`(order_estimated_delivery_date): "2017-10-18" is not a time`},
		{"bad freight in the last table but one", "olist_order_items_dataset.csv", "8.72", "8,72",
			"olist_order_items_dataset.csv, line 3, column 1: the row has another number of fields"},
		{"bad item number", "olist_order_items_dataset.csv", "early,1", "early,one",
			`olist_order_items_dataset.csv, line 4, column 7 (order_item_id): "one" is not a whole number`},
		{"bad payment in the last table", "olist_order_payments_dataset.csv", "8.00", "8.0.0",
			`olist_order_payments_dataset.csv, line 5, column 25 (payment_value): "8.0.0" is not a number`},
		{"bad customer table", "olist_customers_dataset.csv", "customer_unique_id", "unique",
			"olist_customers_dataset.csv, line 1, column 1: column customer_unique_id is missing"},
		{"broken optional table", "olist_products_dataset.csv", "p2,artes", `p2,"artes`,
			"olist_products_dataset.csv, line 3"},
	} {
		t.Run("olist: "+c.name, func(t *testing.T) {
			_, err := importer.Olist(context.Background(), write(t, with(t, c.file, c.old, c.new)), silent{t}, importer.Options{})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got  %v\nwant %s", err, c.want)
			}
		})
	}
}

func TestMissingFiles(t *testing.T) {
	for _, needed := range []string{"olist_orders_dataset.csv", "olist_order_items_dataset.csv",
		"olist_order_payments_dataset.csv", "olist_customers_dataset.csv"} {
		dir := write(t, smallOlist)
		if err := os.Remove(filepath.Join(dir, needed)); err != nil {
			t.Fatal(err)
		}
		_, err := importer.Olist(context.Background(), dir, silent{t}, importer.Options{})
		if err == nil || !strings.Contains(err.Error(), needed+": no such file, with or without .gz") {
			t.Errorf("without %s: %v", needed, err)
		}
	}
	w, dir := newWorld(t), write(t, smallOlist)
	for _, optional := range []string{"olist_products_dataset.csv", "product_category_name_translation.csv"} {
		if err := os.Remove(filepath.Join(dir, optional)); err != nil {
			t.Fatal(err)
		}
	}
	report, err := importer.Olist(context.Background(), dir, w, importer.Options{})
	if err != nil || report.Made != 4 {
		t.Errorf("without titles: %v, %d made", err, report.Made)
	}
}

// TestForms: the same rows in other forms are the same invoices.
func TestForms(t *testing.T) {
	ctx := context.Background()
	rows := retailHeader + retailRow + "536366,71053,\"LANTERN, 7\"\" METAL\",-1,2010-12-01 08:28:00,0.125,,France\n"
	want := newWorld(t)
	if _, err := importer.OnlineRetail(ctx, filepath.Join(write(t, map[string]string{"r.csv": rows}), "r.csv"), want, importer.Options{}); err != nil {
		t.Fatal(err)
	}
	for name, file := range map[string][2]string{
		"gzip":         {"r.csv.gz", zipped(t, rows)},
		"gzip, unsaid": {"s.csv.gz", zipped(t, rows)}, // asked for as s.csv
		"BOM":          {"r.csv", "\ufeff" + rows},
		"CRLF":         {"r.csv", strings.ReplaceAll(rows, "\n", "\r\n")},
		"other order of columns, and one more": {"r.csv", "x,Country,CustomerID,UnitPrice,InvoiceDate,Quantity,Description,StockCode,InvoiceNo\n" +
			"1,United Kingdom,17850,2.55,2010-12-01 08:26:00,6,WHITE HANGING HEART,85123A,536365\n" +
			"2,France,,0.125,2010-12-01 08:28:00,-1,\"LANTERN, 7\"\" METAL\",71053,536366\n"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(write(t, map[string]string{file[0]: file[1]}), file[0])
			path = strings.Replace(path, "s.csv.gz", "s.csv", 1)
			w := newWorld(t)
			if _, err := importer.OnlineRetail(ctx, path, w, importer.Options{}); err != nil {
				t.Fatal(err)
			}
			wantEqual(t, want.documents(), w.documents())
		})
	}
}

func TestRetailOddities(t *testing.T) {
	ctx := context.Background()
	text := retailHeader + retailRow +
		"A1,B,Adjust bad debt,1,2010-12-01 08:26:00,-3.00,,United Kingdom\n" + // between the rows of 536365
		strings.Replace(strings.Replace(retailRow, "17850", "", 1), "08:26", "08:27", 1) +
		strings.Replace(retailRow, "United Kingdom", "France", 1) +
		retailRow + retailRow +
		"C7,85123a,WHITE,-6,2010-12-01 08:26:00,2.55,17850,United Kingdom\n" +
		"in valid,1,x,1,2010-12-01 08:26:00,1,,France\n" +
		"8,1,x,1,2010-12-01 08:26:00,1,a/b,France\n" +
		"9,1,x,1,2011-03-27 01:30:00,1,,France\n"
	zone, err := time.LoadLocation("Europe/London")
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t)
	file := filepath.Join(write(t, map[string]string{"r.csv": text}), "r.csv")
	report, err := importer.OnlineRetail(ctx, file, w, importer.Options{Zone: zone})
	if err != nil {
		t.Fatal(err)
	}
	docs := w.documents()
	if doc := docs["536365"]; len(doc.Lines) != 5 || doc.Customer.ID != "17850" || doc.Country != "United Kingdom" || doc.Lines[4].ID != "5" {
		t.Errorf("536365 is %+v", doc)
	}
	if docs["A1"].Kind != "adjustment" || docs["A1"].Totals.Grand.Decimal() != "-3.00" || len(docs["A1"].Anomalies) != 0 {
		t.Errorf("A1 is %+v", docs["A1"])
	}
	if docs["C7"].Kind != "creditNote" || docs["C7"].Lines[0].SKU != "85123a" || len(docs["C7"].Anomalies) != 0 {
		t.Errorf("C7 is %+v", docs["C7"])
	}
	var got []string
	for _, id := range []string{"536365", "9"} {
		for _, a := range docs[id].Anomalies {
			got = append(got, id+" "+a.Kind+": "+a.Detail)
		}
	}
	want := []string{
		"536365 repeated-row: 2 of 5 rows: lines 4, 5",
		"536365 several-timestamps: 2010-12-01 08:26:00, 2010-12-01 08:27:00",
		"536365 source-conflict: rows disagree on the country",
		"536365 source-conflict: rows disagree on the customer",
		"9 no-such-local-time: 2011-03-27 01:30:00",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("anomalies %q", got)
	}
	if at := time.Date(2011, 3, 27, 1, 30, 0, 0, time.UTC); !docs["9"].PlacedAt.Equal(at) {
		t.Errorf("9 placed at %s, want %s", docs["9"].PlacedAt, at)
	}
	if got := fmt.Sprint(report.Refused); got != `[{r.csv 9 InvoiceNo "in valid" cannot be an id} {r.csv 10 CustomerID "a/b" cannot be an id}]` {
		t.Errorf("refused %s", got)
	}
}

// TestTooLargeForOneAppend: such a document is refused and the rest goes on.
func TestTooLargeForOneAppend(t *testing.T) {
	var b strings.Builder
	b.WriteString(retailHeader)
	for i := range 1500 {
		fmt.Fprintf(&b, "1,%d,%s,1,2010-12-01 08:26:00,1,,France\n", i, strings.Repeat("x", 900))
	}
	b.WriteString(retailRow)
	w := newWorld(t)
	report, err := importer.OnlineRetail(context.Background(), filepath.Join(write(t, map[string]string{"r.csv": b.String()}), "r.csv"), w, importer.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if report.RefusedCount != 1 || report.Refused[0].Line != 2 || !strings.Contains(report.Refused[0].Reason, "more than the") {
		t.Errorf("refused %v", report.Refused)
	}
	if _, there := w.documents()["536365"]; !there {
		t.Error("the rest did not go on")
	}
}

// TestReportText is what a person reads.
func TestReportText(t *testing.T) {
	r := importer.Report{
		Files:  []importer.FileRows{{File: "r.csv", Rows: 1200}},
		Orders: 31, Made: 20, AlreadyThere: 10, Events: 25,
		Anomalies: map[string]int{order.AnomalyRepeatedRow: 3}, OddOrders: map[string]int{order.AnomalyRepeatedRow: 2},
		Refused: []importer.Row{{File: "r.csv", Line: 7, Reason: "no such thing"}}, RefusedCount: 2,
	}
	var b strings.Builder
	if err := r.WriteText(&b); err != nil {
		t.Fatal(err)
	}
	if want := `     1200 rows read from r.csv
       31 orders: 20 made, 10 already there
       25 events written
        3 anomalies repeated-row, on 2 orders
        2 refused
          r.csv, line 7: no such thing
          and 1 more
`; b.String() != want {
		t.Errorf("got\n%s", b.String())
	}
}
