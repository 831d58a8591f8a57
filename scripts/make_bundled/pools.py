"""Values that several domains draw on. Names are common ones, put together at random."""

from __future__ import annotations


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


FIRST_NAMES = _words(
    """
    Ada Adam Agnes Ahmed Alba Amara Anders Anika Arjun Astrid Basil Beata Bruno Camila Carla Cedric Chiara Clara
    Dalia Dario Delia Diego Edgar Elena Elias Elsa Emil Esther Fatima Felix Fiona Franz Gemma Goran Greta Hana
    Hassan Hugo Ines Irene Isaac Ivan Jana Jasper Joel Julia Kamal Karin Kenji Klara Lars Leila Leon Lina Lucia
    Magnus Maja Marco Marta Milan Mira Nadia Nadir Nina Noah Olga Omar Oscar Paula Pedro Petra Rafael Rita Rosa
    Ruben Sara Selma Simon Sofia Sven Tamara Tariq Thea Tomas Uma Vera Victor Wanda Yara Yusuf Zoe
    """
)

LAST_NAMES = _words(
    """
    Abbas Almeida Andersen Bauer Becker Berg Bianchi Blake Borg Castro Chandra Cole Costa Dahl Demir Diaz Duarte
    Eriksen Farkas Ferrari Fischer Fuentes Gallo Garcia Haas Hansen Hassan Horvat Ito Ivanov Jansen Kaya Keller
    Khan Klein Kovac Kumar Lang Larsen Lind Lopez Maier Marino Mendes Moreau Mori Morris Nagy Novak Okafor Olsen
    Ortiz Patel Pereira Petrov Price Quinn Rao Reyes Ricci Roth Rossi Santos Sato Silva Singh Sousa Stone Tanaka
    Torres Vargas Vidal Vogel Weber West Wolf Wood Young Zeman
    """
)

CITIES = ("Lisbon", "Oslo", "Geneva", "Porto", "Krakow", "Bergen", "Seville", "Turin", "Ghent")
TOWNS = ("Ashford", "Millbrook", "Oakdale", "Riverton", "Stonebridge", "Fairview", "Westfield")
COUNTRIES = ("France", "Spain", "Italy", "Japan", "Brazil", "Kenya", "Norway", "Canada", "India")
EUROPE = ("Austria", "Portugal", "Greece", "Sweden", "Poland", "Ireland", "Finland")
REGIONS = ("North", "South", "East", "West", "Central")
PARTS_OF_TOWN = ("Harbor", "Old Town", "Riverside", "Hillside", "Station", "University")
