package importer

import "github.com/docket-orders/docket/domain/money"

// What generated orders are made of. People and addresses are invented.

// shop sells in one country.
type shop struct {
	country, mail string
	currency      money.Currency
	shipping      int64 // minor units
	postal        string
	postals       int
	first, last   []string
	streets       []string
	cities        []place
	methods       []string
	carriers      []string
}

type place struct{ city, state string }

var shops = []shop{
	{
		country: "DE", mail: "de", currency: "EUR", shipping: 490, postal: "%05d", postals: 99_999,
		first:    []string{"Anna", "Jürgen", "Mehmet", "Sofie", "Lukas", "Käthe"},
		last:     []string{"Müller", "Schäfer", "Yılmaz", "Vogt", "Weiß"},
		streets:  []string{"Lindenstraße", "Am Bahnhof", "Goethestraße", "Hafenweg"},
		cities:   []place{{"Berlin", "BE"}, {"München", "BY"}, {"Köln", "NW"}, {"Leipzig", "SN"}},
		methods:  []string{"invoice", "paypal", "credit_card"},
		carriers: []string{"DHL", "Hermes"},
	},
	{
		country: "FR", mail: "fr", currency: "EUR", shipping: 590, postal: "%05d", postals: 95_999,
		first:    []string{"Élodie", "Jean", "Fatou", "Chloé", "Hugo"},
		last:     []string{"Lefèvre", "Moreau", "Diallo", "Garçon"},
		streets:  []string{"rue de la Gare", "avenue Foch", "rue des Écoles"},
		cities:   []place{{"Paris", ""}, {"Lyon", ""}, {"Orléans", ""}},
		methods:  []string{"credit_card", "paypal"},
		carriers: []string{"Colissimo", "Chronopost"},
	},
	{
		country: "GB", mail: "uk", currency: "GBP", shipping: 399, postal: "LS%d 4AP", postals: 29,
		first:    []string{"Priya", "Oliver", "Siobhán", "Grace", "Tom"},
		last:     []string{"Patel", "Smith", "O'Neill", "Clarke", "Hughes"},
		streets:  []string{"High Street", "Mill Lane", "Station Road"},
		cities:   []place{{"Leeds", "England"}, {"Cardiff", "Wales"}, {"Glasgow", "Scotland"}},
		methods:  []string{"debit_card", "credit_card", "paypal"},
		carriers: []string{"Royal Mail", "Evri"},
	},
	{
		country: "US", mail: "us", currency: "USD", shipping: 799, postal: "%05d", postals: 99_999,
		first:    []string{"Maria", "James", "Aaliyah", "Wei", "Emily"},
		last:     []string{"García", "Johnson", "Nguyen", "Brown"},
		streets:  []string{"Main St", "Oak Ave", "5th Ave"},
		cities:   []place{{"Portland", "OR"}, {"Austin", "TX"}, {"Boston", "MA"}, {"Denver", "CO"}},
		methods:  []string{"credit_card", "gift_card"},
		carriers: []string{"UPS", "USPS", "FedEx"},
	},
	{
		country: "JP", mail: "jp", currency: "JPY", shipping: 800, postal: "100-%04d", postals: 9_999,
		first:    []string{"陽菜", "蓮", "さくら", "大翔"},
		last:     []string{"佐藤", "鈴木", "高橋", "田中"},
		streets:  []string{"丸の内", "本町", "栄"},
		cities:   []place{{"東京", "東京都"}, {"大阪", "大阪府"}, {"名古屋", "愛知県"}},
		methods:  []string{"konbini", "credit_card"},
		carriers: []string{"Yamato", "Sagawa"},
	},
}

var products = []struct {
	sku, title string
	cents      int64
}{
	{"MUG-BLUE", "Stoneware mug, blue", 1290},
	{"MUG-SAND", "Stoneware mug, sand", 1290},
	{"TEAPOT-1L", "Cast iron teapot, 1 l", 5490},
	{"LAMP-DESK", "Desk lamp with clamp", 4295},
	{"NOTE-A5", "Notebook A5, dotted", 895},
	{"PEN-05", "Gel pen 0.5, black", 210},
	{"BAG-TOTE", "Tote bag, canvas", 1550},
	{"SCARF-WOOL", "Wool scarf, grey", 3900},
	{"BOARD-OAK", "Chopping board, oak", 2799},
	{"CANDLE-3", "Beeswax candles, set of three", 1180},
	{"CLOCK-WALL", "Wall clock, 30 cm", 3450},
	{"BLANKET", "Linen blanket 140 x 200", 8900},
}

var (
	cancelReasons = []string{"ordered twice", "found it cheaper", "takes too long"}
	holdReasons   = []string{"address looks wrong", "fraud check", "customs papers missing"}
	returnReasons = []string{"does not fit", "arrived damaged", "not as pictured"}
	notes         = []string{"please leave with the neighbours", "asked for an invoice by mail", "gift, no prices in the parcel", "called about the delivery date"}
)
