"""Domains about books, stages, screens and sound."""

from scripts.make_bundled.pools import CITIES, COUNTRIES, EUROPE
from text2sql.data.make.domain import (
    Bridge,
    Domain,
    cat,
    cross,
    date,
    label,
    num,
    person,
    ref,
    someone,
    sparse,
    table,
    year,
)

LIBRARY = Domain(
    "library",
    "train",
    (
        table(
            "authors",
            "author|writer",
            22,
            person(),
            cat("country", "country|home country", COUNTRIES, "from {}"),
            year("birth_year", "year of birth|birth year", 1920, 1990, "born", "youngest", "oldest"),
        ),
        table(
            "books",
            "book",
            44,
            label(
                "title",
                "title",
                cross(
                    "Silent|Golden|Broken|Distant|Winter|Paper",
                    "River|Harbor|Garden|Letters|Kingdom|Bridge|Hours|Crown",
                ),
            ),
            ref("author_id", "authors", "by|written by", "written", "author"),
            cat("genre", "genre", "Fantasy|Mystery|History|Poetry|Science|Romance", "in the {} genre|^{}"),
            num("pages", "page count|number of pages", 90, 800, unit="pages", most="longest", least="shortest"),
            year("published", "year of publication|publication year", 1960, 2023, "published|that came out"),
        ),
        table(
            "loans",
            "loan",
            48,
            ref("book_id", "books", "of", "had", "book"),
            ref("member_id", "members", "made by|to", "made", "borrower"),
            date("loan_date", "loan date|date of the loan", 2021, 2024, "made"),
            sparse(
                date("return_date", "return date", 2022, 2024),
                "that were never returned|without a return date",
                "that were returned|with a return date",
            ),
        ),
        table(
            "members",
            "member|library member",
            30,
            person(),
            cat("city", "city|home city", CITIES[:6], "living in {}|from {}"),
            date("joined", "date of joining|join date", 2015, 2023, "who joined"),
            num("fines", "amount of unpaid fines", 0, 40, 0.5, more="owing more than {} in fines"),
        ),
    ),
    (Bridge("members", "loans", "books", ("who have borrowed {}",)),),
)

ORCHESTRA = Domain(
    "orchestra",
    "train",
    (
        table(
            "musicians",
            "musician|player",
            32,
            person(),
            cat("instrument", "instrument", "violin|cello|flute|horn|oboe|harp", "playing the {}|who play the {}"),
            num("salary", "salary|pay", 28000, 76000, 500, more="earning more than {}", less="earning less than {}"),
            date("hired", "hiring date|date of hire", 2005, 2023, "hired"),
        ),
        table(
            "concerts",
            "concert",
            40,
            label(
                "name",
                "name",
                cross(
                    "Spring|Autumn|Gala|Evening|Summer|Royal",
                    "Serenade|Overtures|Night|Festival|Matinee|Fantasia|Concerto",
                ),
            ),
            cat("hall", "hall|concert hall", "Marble Hall|Lakeside|Old Theatre|Glass Dome", "held at {}"),
            date("held_on", "date", 2020, 2024, "held|that took place"),
            num("tickets_sold", "number of tickets sold|ticket count", 120, 1900, 10, unit="tickets sold", total=True),
        ),
        table(
            "solos",
            "solo|solo performance",
            44,
            ref("musician_id", "musicians", "played by|by", "played", "soloist"),
            ref("concert_id", "concerts", "played in|from", "included", "concert"),
            cat("composer", "composer", "Albinoni|Dvorak|Haydn|Ravel|Schumann", "by the composer {}|composed by {}"),
            num(
                "minutes",
                "length in minutes|duration in minutes",
                3,
                40,
                unit="minutes",
                most="longest",
                least="shortest",
            ),
        ),
    ),
    (Bridge("musicians", "solos", "concerts", ("who have played a solo in {}",)),),
)

FILM_FESTIVAL = Domain(
    "film_festival",
    "train",
    (
        table(
            "directors",
            "director|filmmaker",
            22,
            person(),
            cat("nationality", "nationality", "French|Korean|Danish|Mexican|Polish|Turkish", "^{}"),
            num("awards", "number of awards|award count", 0, 14, unit="awards", total=True),
        ),
        table(
            "films",
            "film|movie",
            42,
            label(
                "title",
                "title",
                cross("Blue|Last|Hidden|Burning|Lost|Second", "Summer|Witness|Island|Border|Mirror|Road|Train"),
            ),
            ref("director_id", "directors", "directed by|made by", "directed", "director"),
            cat("genre", "genre", "Drama|Comedy|Thriller|Documentary|Animation", "in the {} genre|^{}"),
            num("runtime", "runtime|running time", 62, 190, unit="minutes", most="longest", least="shortest"),
            year("release_year", "release year|year of release", 1985, 2024, "released", "newest", "oldest"),
        ),
        table(
            "screenings",
            "screening|showing",
            46,
            ref("film_id", "films", "of", "had", "film"),
            cat("venue", "venue", "Odeon|Lumen|Arena|Cellar", "held at the {}"),
            date("shown_on", "date", 2022, 2024, "held", "most recent", "earliest"),
            num("audience", "audience size|attendance", 20, 600, 5, total=True),
        ),
    ),
)

PODCASTS = Domain(
    "podcasts",
    "train",
    (
        table(
            "shows",
            "show|podcast",
            24,
            label("title", "title", cross("Daily|Curious|Late|Open|Quiet|Deep", "Signal|Kitchen|History|Orbit|Market")),
            cat("topic", "topic|subject", "cooking|history|science|sports|business", "about {}|on the topic of {}"),
            someone("host", "host|presenter"),
            num(
                "subscribers", "number of subscribers|subscriber count", 500, 90000, 100, unit="subscribers", total=True
            ),
        ),
        table(
            "episodes",
            "episode",
            46,
            label(
                "name",
                "name",
                cross("Inside|Beyond|Without|Against|Under|After", "Sugar|Glaciers|Fame|Steel|Silence|Gold|Sleep|Maps"),
            ),
            ref("show_id", "shows", "of|from", "released", "show"),
            num(
                "minutes",
                "length in minutes|duration in minutes",
                12,
                110,
                unit="minutes",
                most="longest",
                least="shortest",
            ),
            date("aired", "air date", 2020, 2024, "aired"),
            num("downloads", "number of downloads|download count", 200, 40000, 50, unit="downloads", total=True),
        ),
    ),
)

MUSEUM = Domain(
    "museum",
    "train",
    (
        table(
            "painters",
            "painter|artist",
            22,
            person(),
            cat("birth_country", "country of birth|native country", EUROPE, "born in {}"),
            year("born", "birth year|year of birth", 1600, 1930, "born", "youngest", "oldest"),
        ),
        table(
            "paintings",
            "painting|picture",
            44,
            label(
                "title",
                "title",
                cross(
                    "Morning|Evening|Study|Storm|Still Life|Market",
                    "at Dusk|in Blue|with Birds|by the Sea|in Rain|with Roses|at Noon|in Red",
                ),
            ),
            ref("painter_id", "painters", "by|painted by", "painted", "painter"),
            ref("gallery_id", "galleries", "hanging in|shown in", "displayed", "gallery"),
            cat("technique", "technique", "oil|watercolor|pastel|tempera", "done in {}|^{}"),
            num(
                "value",
                "value|insured value",
                5000,
                400000,
                1000,
                most="most valuable",
                least="least valuable",
                total=True,
            ),
        ),
        table(
            "galleries",
            "gallery|room",
            12,
            label(
                "name",
                "name",
                "North Wing|Rotunda|East Hall|Long Room|Cabinet|Atrium|Tower Room|Sky Room|Vault|Annex|Loft|Court",
            ),
            num("floor", "floor", 0, 4),
            num("area", "area|floor area", 40, 420, 5, most="largest", least="smallest", total=True),
        ),
    ),
    (Bridge("painters", "paintings", "galleries", ("with work shown in {}",)),),
)

RECORD_LABEL = Domain(
    "record_label",
    "test",
    (
        table(
            "bands",
            "band|group",
            22,
            label(
                "name", "name", cross("Velvet|Electric|Hollow|Northern|Crimson", "Foxes|Engines|Lanterns|Tides|Pilots")
            ),
            cat("style", "style|musical style", "rock|jazz|folk|soul|techno", "^{}|playing {}"),
            cat("home_town", "home town", CITIES, "from {}"),
            year("formed", "year of formation", 1975, 2020, "formed|founded", "youngest", "oldest"),
        ),
        table(
            "albums",
            "album|record",
            44,
            label(
                "title",
                "title",
                cross("Paper|Neon|Slow|Glass|Second|Wild", "Hearts|Machine|Weather|Summer|Static|Roads|Moons|Fire"),
            ),
            ref("band_id", "bands", "by|recorded by", "recorded", "band"),
            date("released", "release date", 2005, 2024, "released"),
            num(
                "copies_sold",
                "number of copies sold",
                400,
                95000,
                100,
                unit="copies sold",
                most="best-selling",
                total=True,
            ),
            num("rating", "rating|critics' rating", 2, 10, 0.1, most="best rated", least="worst rated"),
        ),
        table(
            "tracks",
            "track|song",
            48,
            label(
                "name",
                "name",
                cross("Run|Stay|Fall|Wait|Turn|Fly|Burn", "Away|Tonight|Again|Alone|Together|Slowly|Home"),
            ),
            ref("album_id", "albums", "on|from", "contained", "album"),
            num("seconds", "length in seconds|duration in seconds", 95, 480, most="longest", least="shortest"),
            num(
                "plays", "number of plays|play count", 1000, 900000, 1000, unit="plays", most="most played", total=True
            ),
        ),
    ),
    (Bridge("bands", "albums", "tracks", ("with an album containing {}",)),),
)

THEATRE = Domain(
    "theatre",
    "test",
    (
        table(
            "plays",
            "play|drama",
            26,
            label(
                "title",
                "title",
                cross(
                    "The Stolen|The Patient|The Second|The Wooden|The Honest", "Crown|Guest|Widow|Clock|Thief|Orchard"
                ),
            ),
            someone("playwright", "playwright"),
            cat("category", "category", "tragedy|comedy|farce|musical", "in the {} category"),
            year("written", "year of writing", 1890, 2022, "written", "newest", "oldest"),
        ),
        table(
            "actors",
            "actor|performer",
            28,
            person("stage_name", "stage name"),
            num("age", "age", 19, 78, more="older than {}", less="younger than {}", most="oldest", least="youngest"),
            cat("voice", "voice type", "bass|tenor|alto|soprano", "with a {} voice"),
            num("fee", "fee|fee per show", 150, 2400, 25, most="highest-paid", least="lowest-paid", total=True),
        ),
        table(
            "castings",
            "casting|role",
            46,
            ref("play_id", "plays", "in", "had", "play"),
            ref("actor_id", "actors", "given to|held by", "taken", "actor"),
            cat("importance", "importance", "lead|supporting|minor", "of {} importance|^{}"),
            date("opening", "opening date", 2019, 2024, "opening"),
        ),
    ),
    (Bridge("actors", "castings", "plays", ("who have had a role in {}",)),),
)

DOMAINS = (LIBRARY, ORCHESTRA, FILM_FESTIVAL, PODCASTS, MUSEUM, RECORD_LABEL, THEATRE)
