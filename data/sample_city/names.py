"""Names for streets, in the manner of the country; none is a real place's."""

from __future__ import annotations

from collections.abc import Iterator

from data.sample_city.space import chance


def listed(text: str, separator: str = " ") -> list[str]:
    """The words of a list written in one string."""
    return text.split(separator)


CRAFTS = listed(
    "Tanneurs Drapiers Cordeliers Changeurs Orfèvres Potiers Tisserands Boulangers Chandeliers "
    "Ferronniers Imprimeurs Luthiers Meuniers Passementiers Relieurs Sabotiers Tonneliers "
    "Vanniers Verriers Teinturiers Bouchers Armuriers Arquebusiers Brodeurs Carmes Jacobins "
    "Ursulines Pénitents Bateliers Maréchaux"
)
OLD = listed(
    "de la Vieille-Halle|du Puits-Doux|de l’Arbre-Sec|du Chat-qui-Lit|de la Lanterne|"
    "du Four-Banal|de la Grande-Horloge|du Petit-Pont|de la Poterne|du Cloître|"
    "de l’Ancien-Évêché|du Guet|de la Monnaie|du Pilori|de la Barre|du Mûrier|"
    "de la Vieille-Prison|du Pas-Étroit|de l’Échelle|du Beffroi|de la Tour-Ronde|"
    "des Trois-Maries|du Bœuf|de la Fromagerie|de la Pie|du Paon",
    "|",
)
FIRST = listed(
    "Adèle Aline Anatole Armand Arsène Augustin Aurore Basile Berthe Blanche Camille Cécile "
    "Célestin Clémence Colette Denise Élise Émile Ernest Estelle Eugénie Fanny Félicie Fernand "
    "Flora Gaspard Germaine Honoré Hortense Irène Jeanne Joseph Jules Juliette Léon Léonie "
    "Louise Lucien Madeleine Marceline Marguerite Marius Mathilde Maxime Nadia Noémie Odette "
    "Octave Pauline Philippe Rosalie Samir Sidonie Simone Suzanne Théodore Victor Yvonne Zélie "
    "Zoé"
)
LAST = listed(
    "Aubrac Bellanger Berthomieu Bonnafous Brissac Carrel Castagne Chabert Chauvin Clavel "
    "Coudert Dalmas Delorme Desmarais Dufresne Escoffier Fabre Fontanel Gaillard Garnier "
    "Gauthey Gramont Guérin Hennequin Jacquard Jaubert Lacombe Lagarde Lantier Larrieu Lestrade "
    "Maillard Marchetti Martel Mazurier Mercadier Montel Morvan Nogaret Oustalet Pascalin "
    "Perrault Peyrol Quintard Rambaud Ravel Rochebrune Roussel Sabatier Santerre Sauvage "
    "Tavernier Thévenet Tourneur Vallier Vaucher Verdier Vidal Villars Zeller"
)
GREEN = listed(
    "Acacias Amandiers Ancolies Aubépines Bleuets Bouleaux Bruyères Cerisiers Charmes "
    "Châtaigniers Chênes Clématites Cormiers Coquelicots Cyprès Érables Fougères Frênes Genêts "
    "Glycines Hêtres Iris Jasmins Jonquilles Lavandes Lilas Magnolias Marronniers Mélèzes "
    "Merisiers Mimosas Mûriers Noisetiers Noyers Oliviers Ormes Peupliers Pins Platanes "
    "Pommiers Primevères Roseaux Rosiers Sapins Saules Sorbiers Sureaux Tilleuls Trembles "
    "Violettes"
)
BIRDS = listed(
    "Alouettes Bergeronnettes Bouvreuils Cailles Chardonnerets Cigales Fauvettes Geais Grives "
    "Hirondelles Linottes Loriots Martinets Merles Mésanges Perdrix Pinsons Rossignols "
    "Sittelles Tourterelles"
)
WALKS = listed(
    "du Belvédère|des Promeneurs|de la Source|du Grand-Cèdre|des Écoliers|de l’Orangerie|"
    "du Kiosque|des Libellules|de la Roseraie|du Vieux-Mur|des Joueurs-de-Boules|"
    "du Soleil-Levant|de la Clairière|du Ruisseau|des Bancs|de la Fontaine|du Pigeonnier",
    "|",
)


def street_names(zone: str) -> Iterator[str]:
    """Names in a shuffled order, never ending; they repeat only where the pool is used up."""
    pool = POOLS[zone]
    draw = chance(f"names {zone}")
    order = draw.permutation(len(pool))
    while True:
        yield from (pool[at] for at in order)


PEOPLE = [f"Rue {first} {last}" for first in FIRST for last in LAST]
POOLS = {
    "core": [f"Rue des {craft}" for craft in CRAFTS]
    + [f"{way} {name}" for name in OLD for way in ("Rue", "Ruelle", "Passage")],
    "grid": PEOPLE,
    "suburb": [
        f"{way} des {name}"
        for way in ("Allée", "Rue", "Chemin", "Impasse", "Sentier")
        for name in GREEN + BIRDS
    ]
    + PEOPLE[::7],
    "works": [f"Rue {what}" for what in ("du Dépôt", "des Forges-Basses", "de la Fonderie",
        "du Fret", "de l’Industrie", "des Frères-Lumet", "du Gazomètre", "de la Verrerie",
        "des Wagons", "de la Minoterie", "du Charbon", "de l’Aciérie", "des Tréfileurs",
        "du Raccordement", "de la Logistique", "des Silos")],
    "path": [f"{way} {walk}" for way in ("Allée", "Promenade") for walk in WALKS]
    + [f"{way} des {name}" for way in ("Promenade", "Mail") for name in GREEN + BIRDS],
}  # fmt: skip
