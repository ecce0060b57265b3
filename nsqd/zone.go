package nsqd

import "time"

// Zone-aware consumption, behind --enable-experiment=topology-aware-consumption: a
// message goes to a consumer in the nsqd's own zone if one is ready for it, else to
// one in its region, else to any.

// distance of a consumer from the server.
type distance int

const (
	sameZone distance = iota
	sameRegion
	elsewhere
)

func (s *Server) distance(co *consumer) distance {
	switch {
	case s.opts.TopologyZone != "" && co.zone == s.opts.TopologyZone:
		return sameZone
	case s.opts.TopologyRegion != "" && co.region == s.opts.TopologyRegion:
		return sameRegion
	default:
		return elsewhere
	}
}

// sendPatience is how long the others wait for a nearer consumer that writes to its
// client and takes nothing meanwhile.
const sendPatience = 50 * time.Millisecond

// mayTake says whether no nearer consumer is ready for messages. One that is not
// wakes the others as soon as it takes no more. mu is held.
func (c *Channel) mayTake(co *consumer) bool {
	if !c.server.zoneAware {
		return true
	}
	mine, now := c.server.distance(co), c.server.clock()
	for _, other := range c.consumers {
		if other.inFlight >= other.ready || c.server.distance(other) >= mine {
			continue
		}
		if patience := other.sending + int64(sendPatience); other.sending == 0 || now < patience {
			if other.sending != 0 {
				c.arm(patience)
			}
			return false
		}
	}
	return true
}

// countLocality counts n messages delivered to the consumer. mu is held.
func (c *Channel) countLocality(co *consumer, n uint64) {
	if !c.server.zoneAware {
		return
	}
	switch c.server.distance(co) {
	case sameZone:
		c.zoneLocal += n
	case sameRegion:
		c.regionLocal += n
	default:
		c.further += n
	}
}
