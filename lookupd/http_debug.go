package lookupd

import (
	"encoding/json"
	"net/http"
	"time"

	"nsqraft/fsm"
	"nsqraft/fsm/fsmpb"
	"nsqraft/internal/httpapi"
)

// registration is a producer of a topic or channel as /debug lists it, fields
// in stock's order, which is the alphabet's.
type registration struct {
	BroadcastAddress string `json:"broadcast_address"`
	Hostname         string `json:"hostname"`
	HTTPPort         uint32 `json:"http_port"`
	ID               string `json:"id"` // stock's identity of a producer: its remote address
	// Unix nanoseconds of the last PING or IDENTIFY on a connection to this
	// node; 0 if the producer has none to it, because PINGs are not replicated.
	LastUpdate     int64  `json:"last_update"`
	TCPPort        uint32 `json:"tcp_port"`
	Tombstoned     bool   `json:"tombstoned"`    // also after the tombstone's lifetime
	TombstonedAt   int64  `json:"tombstoned_at"` // Unix nanoseconds; 0: never
	TopologyRegion string `json:"topology_region"`
	TopologyZone   string `json:"topology_zone"`
	Version        string `json:"version"`
}

// dump answers /debug: all registrations by "category:key:subkey", without
// those that have no producers.
func (a *httpAPI) dump(r *http.Request) (any, error) {
	q, err := parseQuery(r)
	if err != nil {
		return nil, err
	}
	q.blocking = false
	view, header, err := a.read(r.Context(), &q, nil)
	if err != nil {
		return nil, err
	}
	a.dumping.Lock()
	defer a.dumping.Unlock()
	body, err := json.Marshal(a.registrations(view))
	if err != nil {
		return nil, err
	}
	return &httpapi.Response{Value: httpapi.JSON(body), Header: header}, nil
}

func (a *httpAPI) registrations(v *fsm.View) map[string][]registration {
	all := make(map[string][]registration)
	lastUpdate := make(map[string]int64) // by producer id
	for p := range v.Producers() {
		for _, id := range p.Sessions() {
			lastUpdate[p.ID] = max(lastUpdate[p.ID], a.sessions.lastUpdate(id))
		}
		all["client::"] = append(all["client::"], newRegistration(p.Info, lastUpdate[p.ID], time.Time{}))
	}
	for _, topic := range v.TopicNames() {
		for channel, producers := range v.Topic(topic).Registrations() {
			key := "channel:" + topic + ":" + channel
			if channel == "" {
				key = "topic:" + topic + ":"
			}
			list := make([]registration, len(producers))
			for i, p := range producers {
				tombstonedAt := p.TombstonedAt
				if channel != "" {
					tombstonedAt = time.Time{} // as in stock: of a topic only
				}
				list[i] = newRegistration(p.Info, lastUpdate[p.ID], tombstonedAt)
			}
			all[key] = list
		}
	}
	return all
}

func newRegistration(p *fsmpb.Producer, lastUpdate int64, tombstonedAt time.Time) registration {
	r := registration{
		BroadcastAddress: p.BroadcastAddress,
		Hostname:         p.Hostname,
		HTTPPort:         p.HttpPort,
		ID:               p.RemoteAddress,
		LastUpdate:       lastUpdate,
		TCPPort:          p.TcpPort,
		TopologyRegion:   p.TopologyRegion,
		TopologyZone:     p.TopologyZone,
		Version:          p.Version,
	}
	if !tombstonedAt.IsZero() {
		r.Tombstoned, r.TombstonedAt = true, tombstonedAt.UnixNano()
	}
	return r
}
