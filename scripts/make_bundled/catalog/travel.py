"""Domains about moving and staying somewhere."""

from scripts.make_bundled.pools import CITIES, COUNTRIES, REGIONS, TOWNS
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

AIRLINE = Domain(
    "airline",
    "train",
    (
        table(
            "carriers",
            "carrier|airline",
            18,
            label("name", "name", cross("Blue|Polar|Sun|Alpine|Coastal", "Wings|Jet|Air|Express")),
            cat("country", "country|home country", COUNTRIES[:6], "based in {}|from {}"),
            num("fleet_size", "fleet size", 4, 210, unit="planes", total=True),
            year("founded", "founding year|year of foundation", 1948, 2018, "founded", "newest", "oldest"),
        ),
        table(
            "flights",
            "flight",
            46,
            code("flight_number", "flight number", "FN####"),
            ref("carrier_id", "carriers", "operated by|run by", "operated", "carrier"),
            cat("origin", "origin|departure city", CITIES[:6], "departing from {}|leaving from {}"),
            cat("destination", "destination|arrival city", CITIES[2:], "going to {}|bound for {}"),
            num("distance", "distance|distance in km", 240, 4200, 10, most="longest", least="shortest", total=True),
            num("price", "ticket price|fare", 35, 620, 5, most="most expensive", least="cheapest"),
        ),
        table(
            "delays",
            "delay",
            44,
            ref("flight_id", "flights", "of", "had", "flight"),
            date("day", "date", 2021, 2024, "recorded"),
            num("minutes", "number of minutes|length in minutes", 5, 320, 5, more="longer than {} minutes", total=True),
            cat("cause", "cause|reason", "fog|strike|repair|storm|crew", "caused by {}"),
        ),
    ),
    (Bridge("carriers", "flights", "delays", ("with a flight that had {}",)),),
)

HOTEL = Domain(
    "hotel",
    "train",
    (
        table(
            "rooms",
            "room|hotel room",
            34,
            code("room_number", "room number", "R###"),
            cat("bed_type", "bed type|type of bed", "single|double|queen|bunk", "with a {} bed"),
            num("floor", "floor", 1, 9),
            num("rate", "nightly rate|price per night", 55, 420, 5, most="most expensive", least="cheapest"),
            flag("has_balcony", "with a balcony|that come with a balcony", "without a balcony"),
        ),
        table(
            "guests",
            "guest|visitor",
            32,
            person(),
            cat("country", "country|home country", COUNTRIES, "from {}"),
            num("points", "number of loyalty points|points balance", 0, 5200, 50, unit="loyalty points", total=True),
        ),
        table(
            "stays",
            "stay|booking",
            48,
            ref("room_id", "rooms", "in", "had", "room"),
            ref("guest_id", "guests", "by|made by", "made", "guest"),
            date("check_in", "check-in date|arrival date", 2021, 2024, "starting"),
            num(
                "nights",
                "number of nights|length in nights",
                1,
                15,
                unit="nights",
                most="longest",
                least="shortest",
                total=True,
            ),
            sparse(num("review_score", "review score", 1, 10), "without a review score", "with a review score"),
        ),
    ),
    (Bridge("guests", "stays", "rooms", ("who have stayed in {}",)),),
)

RAILWAY = Domain(
    "railway",
    "train",
    (
        table(
            "stations",
            "station|railway station",
            24,
            label("name", "name", cross("Ash|Mill|Stone|Clay|Elm|Fern", "ford|gate|bridge|combe", "")),
            cat("region", "region", REGIONS, "in the {} region|in the {}"),
            num("platforms", "number of platforms|platform count", 1, 16, unit="platforms", total=True),
            year("opened", "opening year|year of opening", 1850, 2010, "opened", "newest", "oldest"),
        ),
        table(
            "trains",
            "train",
            44,
            code("number", "number|train number", "T###"),
            ref("station_id", "stations", "starting at|departing from", "dispatched", "starting station"),
            cat("type", "type", "express|regional|night|freight", "^{}|of type {}"),
            num("top_speed", "top speed|maximum speed", 80, 300, 10, most="fastest", least="slowest"),
            num("seats", "number of seats|seat count", 40, 720, 10, unit="seats", total=True),
        ),
    ),
)

CAR_RENTAL = Domain(
    "car_rental",
    "train",
    (
        table(
            "cars",
            "car|vehicle",
            36,
            code("plate", "plate|license plate", "KX-####"),
            cat("model", "model", "Corvo|Lynx|Terra|Mistral|Pico", "of the {} model|^{}"),
            cat("fuel", "fuel|fuel type", "petrol|diesel|electric|hybrid", "running on {}|whose fuel type is {}"),
            num("daily_rate", "daily rate|price per day", 22, 160, 2, most="most expensive", least="cheapest"),
            num("mileage", "mileage", 1200, 150000, 100, more="driven more than {} km", total=True),
        ),
        table(
            "drivers",
            "driver|customer",
            28,
            person(),
            cat("city", "city", CITIES[:6], "living in {}|from {}"),
            year("licensed", "license year|year of the license", 1980, 2022, "licensed"),
        ),
        table(
            "rentals",
            "rental|hire",
            48,
            ref("car_id", "cars", "of", "had", "car"),
            ref("driver_id", "drivers", "by|made by", "made", "driver"),
            date("start_date", "start date|first day", 2021, 2024, "starting|that began"),
            num(
                "days",
                "number of days|length in days",
                1,
                28,
                unit="days",
                most="longest",
                least="shortest",
                total=True,
            ),
            sparse(num("damage_cost", "damage cost", 40, 2600, 20), "without any damage cost", "with a damage cost"),
        ),
    ),
    (Bridge("drivers", "rentals", "cars", ("who have rented {}",)),),
)

PORT = Domain(
    "port",
    "train",
    (
        table(
            "ships",
            "ship|vessel",
            24,
            label("name", "name", cross("Northern|Silver|Ocean|Brave|Proud", "Star|Trader|Swan|Horizon|Spirit")),
            cat(
                "flag_state",
                "flag state",
                "Panama|Malta|Liberia|Cyprus|Bahamas",
                "sailing under the flag of {}|registered in {}",
            ),
            num("length", "length|length in meters", 60, 390, 5, most="longest", least="shortest"),
            year("built", "year of construction|construction year", 1978, 2022, "built", "newest", "oldest"),
        ),
        table(
            "containers",
            "container",
            48,
            code("serial", "serial number", "C#####"),
            ref("ship_id", "ships", "aboard|carried by", "carried", "ship"),
            cat("cargo", "cargo|type of cargo", "grain|steel|fruit|textiles|timber", "loaded with {}|filled with {}"),
            num("weight", "weight|weight in tonnes", 2, 30, 0.5, most="heaviest", least="lightest", total=True),
            date("arrived", "arrival date|date of arrival", 2022, 2024, "that arrived"),
        ),
    ),
)

CYCLING = Domain(
    "cycling",
    "train",
    (
        table(
            "squads",
            "squad|cycling squad",
            14,
            label("name", "name", cross("Red|Swift|Iron|Grand", "Falcons|Chain|Summit|Comets")),
            cat("country", "country|home country", COUNTRIES[:6], "from {}|based in {}"),
            num("budget", "budget|yearly budget", 400, 9000, 50, most="richest", least="poorest", total=True),
        ),
        table(
            "riders",
            "rider|cyclist",
            42,
            person(),
            ref("squad_id", "squads", "riding for|in", "signed", "squad"),
            cat("country", "country|home country", COUNTRIES, "from {}"),
            num("age", "age", 19, 39, more="older than {}", less="younger than {}", most="oldest", least="youngest"),
            num("wins", "number of wins|win count", 0, 34, unit="wins", most="most successful", total=True),
        ),
    ),
)

MOUNTAINEERING = Domain(
    "mountaineering",
    "test",
    (
        table(
            "peaks",
            "peak|mountain",
            24,
            label("name", "name", cross("Mount|Pico|Punta|Piz", "Arvale|Corra|Dorin|Estel|Lumo|Sabel|Toran")),
            cat("mountain_range", "range|mountain range", "Alps|Andes|Caucasus|Rockies|Pamirs", "in the {}"),
            num("height", "height|height in meters", 2100, 7900, 10, most="highest", least="lowest"),
            year("first_climbed", "year of the first ascent", 1850, 1995, "first climbed"),
        ),
        table(
            "climbers",
            "climber|mountaineer",
            28,
            person(),
            cat("country", "country|home country", COUNTRIES[:7], "from {}"),
            num(
                "experience",
                "experience in years|climbing experience in years",
                1,
                35,
                most="most experienced",
                least="least experienced",
            ),
        ),
        table(
            "ascents",
            "ascent|climb",
            46,
            ref("peak_id", "peaks", "of", "seen", "peak"),
            ref("climber_id", "climbers", "by|made by", "made", "climber"),
            date("day", "date", 2012, 2024, "made|completed"),
            num("hours", "number of hours|duration in hours", 4, 60, unit="hours", most="longest", least="shortest"),
            flag("used_oxygen", "with bottled oxygen|made using bottled oxygen", "without bottled oxygen"),
        ),
    ),
    (Bridge("climbers", "ascents", "peaks", ("who have climbed {}",)),),
)

FERRY = Domain(
    "ferry",
    "test",
    (
        table(
            "boats",
            "boat|ferry",
            16,
            label(
                "name",
                "name",
                "Albatross|Cormorant|Heron|Osprey|Pelican|Puffin|Tern|Gannet|Plover|Curlew|Egret|Kestrel|Merlin|Petrel|Skua|Avocet",
            ),
            num("capacity", "passenger capacity|capacity", 40, 900, 10, most="largest", least="smallest", total=True),
            cat("harbor", "home harbor|home port", TOWNS[:5], "based in {}"),
            sparse(
                date("last_inspection", "last inspection date", 2021, 2024, "last inspected"),
                "never inspected",
                "already inspected",
            ),
        ),
        table(
            "crossings",
            "crossing|trip",
            48,
            ref("boat_id", "boats", "made by|of", "made", "boat"),
            date("sailed_on", "sailing date", 2022, 2024, "that sailed"),
            cat("weather", "weather", "calm|windy|foggy|stormy", "in {} weather"),
            num(
                "passengers",
                "number of passengers|passenger count",
                10,
                800,
                5,
                unit="passengers",
                most="busiest",
                total=True,
            ),
            num("ticket_income", "ticket income", 100, 9000, 50, total=True),
        ),
    ),
)

DOMAINS = (AIRLINE, HOTEL, RAILWAY, CAR_RENTAL, PORT, CYCLING, MOUNTAINEERING, FERRY)
