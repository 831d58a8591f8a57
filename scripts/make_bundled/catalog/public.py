"""Domains about government, work and giving."""

from scripts.make_bundled.pools import CITIES, PARTS_OF_TOWN, TOWNS
from text2sql.data.make.domain import (
    Bridge,
    Domain,
    cat,
    code,
    cross,
    date,
    flag,
    label,
    num,
    person,
    ref,
    sparse,
    table,
    year,
)

SOFTWARE = Domain(
    "software",
    "train",
    (
        table(
            "developers",
            "developer|programmer",
            24,
            person(),
            cat("team", "team", "backend|frontend|mobile|security", "on the {} team|in the {} team"),
            cat("city", "city", CITIES[:5], "based in {}|living in {}"),
            date("start_date", "start date", 2012, 2023, "who started"),
        ),
        table(
            "bugs",
            "bug|defect",
            48,
            code("ticket", "ticket number", "BUG-####"),
            ref("developer_id", "developers", "assigned to", "been assigned", "assignee"),
            cat("severity", "severity|severity level", "low|medium|high|critical", "of {} severity|with {} severity"),
            date("opened", "opening date|date opened", 2022, 2024, "opened|reported"),
            sparse(
                date("closed", "closing date", 2022, 2024, "closed"),
                "that are still open|without a closing date",
                "that have been closed",
            ),
        ),
        table(
            "commits",
            "commit",
            46,
            ref("developer_id", "developers", "by|made by", "made", "author"),
            cat("repository", "repository", "web|engine|docs|tools", "in the {} repository|to the {} repository"),
            num(
                "lines_added",
                "number of added lines|added line count",
                1,
                900,
                unit="added lines",
                most="largest",
                least="smallest",
                total=True,
            ),
            date("day", "date", 2023, 2024, "made"),
        ),
    ),
)

CITY_HALL = Domain(
    "city_hall",
    "train",
    (
        table(
            "districts",
            "district",
            12,
            label(
                "name",
                "name",
                "Alba|Bellevue|Castle|Docks|Eastgate|Fountain|Greenway|Highfield|Isle|Junction|Kingsway|Lower Town",
            ),
            num(
                "population",
                "population|number of inhabitants",
                2000,
                90000,
                500,
                unit="inhabitants",
                most="most populous",
                least="least populous",
                total=True,
            ),
            num("parks", "number of parks|park count", 0, 16, unit="parks", total=True),
        ),
        table(
            "permits",
            "permit|building permit",
            48,
            ref("district_id", "districts", "issued in|for", "issued", "district"),
            cat("purpose", "purpose", "housing|retail|parking|school|signage", "for {} purposes|whose purpose is {}"),
            date("filed", "filing date", 2020, 2024, "filed"),
            num("fee", "fee", 50, 4200, 10, most="most expensive", least="cheapest", total=True),
            sparse(
                date("approved", "approval date", 2021, 2024, "approved"),
                "that were never approved|without an approval date",
                "that were approved",
            ),
        ),
    ),
)

CHARITY = Domain(
    "charity",
    "train",
    (
        table(
            "donors",
            "donor|supporter",
            28,
            person(),
            cat("town", "town", TOWNS, "from {}|living in {}"),
            flag("anonymous", "^anonymous|who give anonymously", "who do not give anonymously"),
        ),
        table(
            "campaigns",
            "campaign|appeal",
            14,
            label("name", "name", cross("Clean|Warm|Bright|Safe", "Water|Homes|Schools|Roads")),
            num("goal", "goal|fundraising goal", 5000, 90000, 500, most="most ambitious", total=True),
            cat("field", "field", "health|education|nature|relief", "in the {} field|in the field of {}"),
            date("launched", "launch date", 2018, 2023, "launched"),
        ),
        table(
            "donations",
            "donation|gift",
            48,
            ref("donor_id", "donors", "from|made by", "made", "donor"),
            ref("campaign_id", "campaigns", "to|received by", "received", "campaign"),
            num("amount", "amount", 10, 2500, 5, most="largest", least="smallest", total=True),
            date("given_on", "date", 2020, 2024, "made|given"),
        ),
    ),
    (Bridge("donors", "donations", "campaigns", ("who have donated to {}", "who have given to {}")),),
)

CLEANING = Domain(
    "cleaning",
    "train",
    (
        table(
            "cleaners",
            "cleaner",
            20,
            person(),
            cat("town", "town|home town", TOWNS[:5], "living in {}"),
            num(
                "hourly_wage",
                "hourly wage",
                12,
                34,
                0.5,
                more="earning more than {} per hour",
                less="earning less than {} per hour",
            ),
        ),
        table(
            "offices",
            "office",
            26,
            label("name", "name", cross("Beacon|Summit|Harvest|Garnet|Willow", "House|Tower|Center|Court|Plaza|Yard")),
            cat("part", "part of town", PARTS_OF_TOWN, "in the {} part of town"),
            num(
                "desks",
                "number of desks|desk count",
                4,
                240,
                unit="desks",
                most="largest",
                least="smallest",
                total=True,
            ),
        ),
        table(
            "visits",
            "visit|cleaning visit",
            48,
            ref("cleaner_id", "cleaners", "by|made by", "made", "cleaner"),
            ref("office_id", "offices", "to|at", "had", "office"),
            date("day", "date", 2022, 2024, "made"),
            num(
                "hours",
                "number of hours|length in hours",
                1,
                9,
                0.5,
                unit="hours",
                most="longest",
                least="shortest",
                total=True,
            ),
            flag("at_night", "made at night", "made during the day"),
        ),
    ),
    (Bridge("cleaners", "visits", "offices", ("who have cleaned {}",)),),
)

FOOTBALL = Domain(
    "football",
    "test",
    (
        table(
            "clubs",
            "club|football club",
            16,
            label("name", "name", cross("Real|Sporting|Union|Racing", "Ardena|Bolvia|Cantor|Dravik")),
            cat("city", "city", CITIES, "from {}|based in {}"),
            num("points", "number of points|points total", 12, 92, unit="points", total=True),
            year("founded", "founding year|year of foundation", 1885, 1990, "founded", "youngest", "oldest"),
        ),
        table(
            "footballers",
            "footballer|player",
            44,
            person(),
            ref("club_id", "clubs", "playing for|of", "signed", "club"),
            cat("position", "position", "goalkeeper|defender|midfielder|striker", "in the {} position|playing as a {}"),
            num("goals", "number of goals|goal count", 0, 31, unit="goals", total=True),
            num(
                "market_value",
                "market value",
                200,
                48000,
                100,
                most="most valuable",
                least="least valuable",
                total=True,
            ),
        ),
    ),
)


DOMAINS = (SOFTWARE, CITY_HALL, CHARITY, CLEANING, FOOTBALL)
