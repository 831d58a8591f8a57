"""Domains about sky, soil, weather and power."""

from scripts.make_bundled.pools import REGIONS
from text2sql.data.make.domain import (
    Domain,
    cat,
    cross,
    date,
    flag,
    label,
    num,
    ref,
    someone,
    table,
    year,
)

OBSERVATORY = Domain(
    "observatory",
    "train",
    (
        table(
            "telescopes",
            "telescope",
            14,
            label(
                "name",
                "name",
                "Argus|Borealis|Cyclops|Draco|Eagle|Falcon|Gemini|Helios|Icarus|Juno|Kepler Mark|Lynx|Meridian|Nadir",
            ),
            cat("site", "site|location", "Ridge|Desert|Plateau|Island", "at the {} site"),
            num("aperture", "aperture|aperture in cm", 20, 410, 5, most="largest", least="smallest"),
            year("built", "construction year|year of construction", 1955, 2021, "built", "newest", "oldest"),
        ),
        table(
            "observations",
            "observation|sighting",
            48,
            ref("telescope_id", "telescopes", "made with|from", "made", "telescope"),
            someone("observer", "observer"),
            cat("target", "target|target type", "planet|comet|galaxy|nebula|star", "of a {}"),
            date("night", "date", 2021, 2024, "made|recorded"),
            num(
                "exposure",
                "exposure time|exposure in seconds",
                10,
                1800,
                10,
                most="longest",
                least="shortest",
                total=True,
            ),
        ),
    ),
)

FARM = Domain(
    "farm",
    "train",
    (
        table(
            "fields",
            "field",
            22,
            label("name", "name", cross("Upper|Lower|Long|Round|Far|Mill", "Meadow|Acre|Patch|Slope")),
            cat("soil", "soil|soil type", "clay|loam|sand|peat", "with {} soil"),
            num("area", "area|area in hectares", 1, 60, 0.5, most="largest", least="smallest", total=True),
            flag("irrigated", "^irrigated|with irrigation", "without irrigation"),
        ),
        table(
            "harvests",
            "harvest",
            48,
            ref("field_id", "fields", "from", "produced", "field"),
            cat("crop", "crop", "wheat|barley|corn|beets|oats", "of {}"),
            year("season", "season|year", 2015, 2023, "gathered", "most recent", "earliest"),
            num("tonnes", "yield in tonnes|weight in tonnes", 2, 240, 2, most="largest", least="smallest", total=True),
        ),
    ),
)

POWER_GRID = Domain(
    "power_grid",
    "train",
    (
        table(
            "plants",
            "plant|power plant",
            20,
            label("name", "name", cross("Black|Clear|High|Iron|Pine", "Creek|Point|Rock|Field")),
            cat("source", "energy source|source", "wind|solar|hydro|gas|coal", "running on {}|powered by {}"),
            cat("region", "region", REGIONS, "in the {} region"),
            num(
                "capacity",
                "capacity|capacity in megawatts",
                10,
                1400,
                10,
                most="most powerful",
                least="weakest",
                total=True,
            ),
        ),
        table(
            "outages",
            "outage|failure",
            46,
            ref("plant_id", "plants", "at|of", "had", "plant"),
            date("started", "start date", 2020, 2024, "that started"),
            num(
                "hours",
                "number of hours|duration in hours",
                1,
                72,
                unit="hours",
                most="longest",
                least="shortest",
                total=True,
            ),
            cat("cause", "cause", "storm|fire|overload|sabotage", "caused by {}"),
        ),
    ),
)

WEATHER = Domain(
    "weather",
    "train",
    (
        table(
            "sites",
            "site|weather site",
            18,
            label("name", "name", cross("Cape|Fort|Lake|Port|Glen|Bay", "Arden|Corin|Mora")),
            cat("climate", "climate|climate zone", "coastal|alpine|desert|temperate", "with a {} climate"),
            num("altitude", "altitude|altitude in meters", 0, 2900, 10, most="highest", least="lowest"),
        ),
        table(
            "readings",
            "reading|measurement",
            48,
            ref("site_id", "sites", "from|taken at", "reported", "site"),
            date("day", "date", 2021, 2024, "taken", "most recent", "earliest"),
            num("temperature", "temperature", -15, 40, 0.5, most="warmest", least="coldest"),
            num("rainfall", "rainfall|rainfall in mm", 0, 80, 0.5, most="wettest", least="driest", total=True),
            cat("wind", "wind direction", "north|south|east|west", "with wind from the {}"),
        ),
    ),
)

MINING = Domain(
    "mining",
    "test",
    (
        table(
            "mines",
            "mine",
            18,
            label("name", "name", cross("Deep|Old|Lucky|Grey|Twin", "Shaft|Hollow|Wolf|Ridge")),
            cat("mineral", "mineral", "copper|zinc|nickel|lithium|tin", "producing {}|^{}"),
            num(
                "depth",
                "depth|depth in meters",
                40,
                1900,
                10,
                more="deeper than {} meters",
                most="deepest",
                least="shallowest",
            ),
            num("workers", "number of workers|worker count", 12, 640, unit="workers", total=True),
        ),
        table(
            "accidents",
            "accident|incident",
            44,
            ref("mine_id", "mines", "in|at", "had", "mine"),
            date("happened_on", "date", 2016, 2024, "that happened", "most recent", "earliest"),
            cat("kind", "kind", "collapse|fire|flooding|machinery", "of the kind {}"),
            num(
                "lost_days",
                "number of lost days|lost day count",
                0,
                60,
                unit="lost days",
                most="most costly",
                total=True,
            ),
        ),
    ),
)


DOMAINS = (OBSERVATORY, FARM, POWER_GRID, WEATHER, MINING)
