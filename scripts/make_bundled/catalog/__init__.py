"""The hand-written domains, in a fixed order. Each belongs to one split for good, so test schemas stay unseen."""

from scripts.make_bundled.catalog import arts, life, nature, public, trade, travel
from text2sql.data.make.domain import Domain

DOMAINS: dict[str, Domain] = {
    domain.name: domain
    for module in (arts, life, nature, public, trade, travel)
    for domain in sorted(module.DOMAINS, key=lambda domain: domain.name)
}
