package audit
import ("testing";"time";"fmt"
"github.com/docket-orders/docket/domain/order"
"github.com/docket-orders/docket/eventstore"
"github.com/docket-orders/docket/eventstore/codec"
"github.com/docket-orders/docket/projections")
func TestZZ(t *testing.T){
 doc:=projections.Empty("o"); var fold,sum time.Duration
 for i:=range 10000 {
  var e order.Event = order.NoteAdded{NoteID: fmt.Sprint("n",i), Text:"hello"}
  if i%2==1 { e = order.TagsSet{Tags: []string{fmt.Sprint(i)}} }
  s:=time.Now()
  after:=projections.Apply(doc, codec.Recorded{OrderID:"o",Revision:eventstore.Revision(i),Position:eventstore.At64(uint64(i+1)),Event:e})
  fold+=time.Since(s); s=time.Now()
  summary(e,doc,after); sum+=time.Since(s); doc=after
 }
 t.Log(fold,sum)
}
