"""The sentences of TinySpeech: a context-free grammar of everyday English and a balanced way to draw from it.

A rule `name: [alternatives]` rewrites `{name}` by one of its alternatives, which may hold further `{names}`. A sentence
is written as it is spoken, with the commas and question marks that tell a synthesiser where to pause and how to
intone; `transcript` turns it into LibriSpeech's alphabet. Only `random.Random.random` is used for chance: Python
guarantees its sequence for a seed in every version, which it does not for `choice` or `shuffle`.
"""

import random
import re
from collections import Counter
from collections.abc import Container

# One list of sentences per topic, since every topic gets an equal share of the corpus.
TOPICS: dict[str, list[str]] = {
    "weather": [
        "It is {warmth} and {condition} in {city} {now}.",
        "It was {condition} and {warmth} in {city} on {day}.",
        "There will be {sky} in {city} on {day} {part}.",
        "There was {sky} and {sky} in {city} yesterday.",
        "Tomorrow will be {weather}, so take {wear} and {wear}.",
        "I don't like the {sky}, but {name} loves it.",
        "The wind was so strong that {name} lost {wear}.",
        "Will it be {weather} in {city} {next}?",
        "{name} says it's too {weather} for the {outdoors}.",
    ],
    "cooking": [
        "Put {count} {food} and a little {spice} in the {dish}.",
        "Cook the {food} and the {food} for {minutes} minutes.",
        "Let's cook {dish} with {food} for my {family}.",
        "{name} is making {dish} with {food} for {meal}.",
        "The {dish} is too {taste}, and the {drink} is too {taste}.",
        "This {dish} needs more {spice} and {count} {food}.",
        "Somebody has eaten the {baked}, and the {animal} looks very {mood}.",
        "I'd like {baked} with {spice} and a cup of {drink}.",
        "{name} put {spice} in the {drink}, and it's too {taste}.",
        "Would you like {dish} or {baked} for {meal}?",
    ],
    "travel": [
        "The {vehicle} to {city} leaves at {time}.",
        "The train to {city} leaves from platform {count}.",
        "The {vehicle} from {city} is {minutes} minutes late.",
        "How much is a ticket from {city} to {city}?",
        "{name} missed the last {vehicle} to {city} on {day}.",
        "We will arrive in {city} at {time}.",
        "Is this the {vehicle} to {city}, or the {vehicle} to {city}?",
        "I'm going to {city} by {vehicle} {next}.",
    ],
    "music": [
        "{name} plays the {instrument} every {part}.",
        "{name} plays the {instrument}, and {name} plays the {instrument}.",
        "I'm learning the {instrument} with my {family}.",
        "The {look} {person} plays the {instrument} in {city}.",
        "{name} is learning the {instrument}, and the {animal} is not {mood}.",
        "{name} sang {count} {kind} songs at the {event}.",
        "The {event} in {city} begins at {time}.",
        "Can you hear the {instrument}? That is {name}.",
        "That song is too {pace} for the {instrument}.",
        "{name} is too {pace}, and the {instrument} is too {pace}.",
        "Let's sing {kind} songs for {name} and my {family}.",
    ],
    "phone": [
        "Hello, this is {name}. Can I speak to {name}, please?",
        "Please call {name} on {day} {part}.",
        "My number is {digit} {digit} {digit} {digit}.",
        "The number of the {building} is {digit} {digit} {digit} {digit}.",
        "{name} left a message for {name} about the {event}.",
        "I'm sorry, {name} is not at the {place} {now}.",
        "Don't forget to call your {family} on {day}.",
        "Hello {name}, it's your {family}. Where are you?",
        "May I speak to your {family}, please? It's {name}.",
        "I'll call you from {city} at {time}.",
    ],
    "shopping": [
        "{name} bought a {color} {thing} for {price}.",
        "We need {food}, {spice} and {drink} from the {shop}.",
        "Do you have this {thing} in {color} or in {color}?",
        "How much are the {color} {pair}?",
        "The {shop} closes at {time} on {day}.",
        "That {thing} costs {price}, and this {thing} costs {price}.",
        "The {shop} sells {pair} and {pair} for {price}.",
        "I'd like a {size} {color} {thing}, please.",
        "{name} wants {color} {pair} and a {color} {thing}.",
        "Do they have {food} and {baked} at the {shop}?",
    ],
    "home": [
        "The {animal} is sleeping {where} the {furniture}.",
        "The {size} {animal} is {where} the {furniture} again.",
        "The {color} {animal} is looking for the {size} {animal}.",
        "Have you seen my {color} {pair}? They're {where} the {furniture}.",
        "The {animal} and the {animal} are {where} the {furniture}.",
        "Please open the {opening} for the {size} {animal}.",
        "Please shut the {opening}, because it's {weather} in the {room}.",
        "The {thing} is in the {room}, {where} the {furniture}.",
        "Can you hear the {animal} in the {room}?",
        "Why is the {animal} in the {room} with the {dish}?",
    ],
    "town": [
        "{name} and {name} are going to the {place}.",
        "Let's meet at the {place} at {time}.",
        "Turn {side} at the {place}, and then {side} at the {place}.",
        "{name} works at the {building} in {city}.",
        "{name} is going to visit my {family} in {city} {next}.",
        "It's {minutes} minutes from the {place} to the {place}.",
        "I saw {name} and your {family} near the {place} yesterday.",
        "The {building} is next to the {building}, near the {shop}.",
        "On {day} we went to the {place} with {name}.",
        "You can't take your {animal} to the {building}.",
    ],
    "questions": [
        "What time is it, {name}? It's {time}.",
        "When is the {event}? It's on {day} at {time}.",
        "When will {name} be in {city}, on {day} or on {day}?",
        "Who is the {look} {person} with the {color} {thing}?",
        "Is {name} older than {name}?",
        "Would you like {drink} with {spice}, or {drink}?",
        "May I have a cup of {drink} and some {baked}?",
        "Did {name} read the book about the {size} {animal}?",
        "Where is your {family}? In {city}, near the {place}.",
        "Why is your {family} so {mood} {now}?",
    ],
    "numbers": [
        "My {family} is {tens} {digit} years old.",
        "There are {tens} {digit} people in the {building}.",
        "Please open your book at page {tens} {digit}.",
        "The house has {count} rooms and {count} doors.",
        "{name} has {count} brothers and {count} sisters.",
        "The {animal} is only {count} {period} old.",
        "{name} stayed in {city} for {count} {period}.",
    ],
}

PARTS: dict[str, list[str]] = {
    "name": ["Anna", "Ben", "Clara", "David", "Emma", "Frank", "Lucy", "Peter", "Rosa", "Tom"],
    "city": ["London", "Paris", "Rome", "Berlin", "Boston", "Dublin", "Madrid", "Oslo"],
    "day": ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"],
    "part": ["morning", "afternoon", "evening", "night"],
    "now": ["today", "tonight", "this {daytime}"],
    "daytime": ["morning", "afternoon", "evening"],
    "next": ["next week", "next {season}", "in the {season}"],
    "season": ["summer", "winter"],
    "weather": ["{condition}", "{condition}", "{condition}", "{warmth}"],
    "condition": ["sunny", "cloudy", "windy", "rainy", "dry"],
    "warmth": ["cold", "warm"],
    "sky": ["rain", "snow", "fog"],
    "wear": ["an old {garment}", "a {color} {garment}", "a {size} {garment}"],
    "garment": ["hat", "coat", "scarf"],
    "color": ["red", "blue", "green", "yellow"],
    "size": ["big", "small", "little"],
    "count": ["two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"],
    "digit": ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine"],
    "tens": ["twenty", "thirty", "forty", "fifty"],
    "minutes": ["five", "ten", "twenty", "thirty", "forty"],
    "time": ["{hour} o'clock", "half past {hour}", "a quarter to {hour}", "noon", "midnight"],
    "hour": ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"],
    "price": ["{tens} {money}", "{tens} {digit} {money}", "{count} {money}"],
    "money": ["pounds", "dollars", "euros"],
    "period": ["weeks", "years"],
    "food": ["eggs", "apples", "potatoes", "carrots", "tomatoes"],
    "spice": ["salt", "sugar", "butter", "honey"],
    "baked": ["bread", "cake", "apple pie"],
    "dish": ["soup", "rice", "salad", "pasta"],
    "meal": ["breakfast", "dinner"],
    "taste": ["hot", "sweet", "cold"],
    "drink": ["tea", "coffee", "water", "juice"],
    "vehicle": ["train", "bus", "plane", "boat"],
    "instrument": ["piano", "violin", "guitar", "flute"],
    "kind": ["old", "new", "sad", "happy"],
    "event": ["party", "concert", "wedding"],
    "pace": ["slow", "fast", "loud"],
    "family": ["mother", "father", "sister", "brother", "grandmother"],
    "place": ["{building}", "{outdoors}"],
    "building": ["station", "library", "school", "museum", "zoo"],
    "outdoors": ["park", "beach", "river", "bridge"],
    "shop": ["market", "bakery"],
    "thing": ["hat", "coat", "scarf", "shirt", "chair", "bicycle"],
    "pair": ["shoes", "gloves", "socks", "glasses"],
    "animal": ["cat", "dog", "horse", "duck", "mouse"],
    "mood": ["happy", "hungry"],
    "where": ["under", "behind", "on", "next to"],
    "furniture": ["table", "sofa", "bed", "piano"],
    "opening": ["window", "door"],
    "room": ["kitchen", "garden", "bathroom"],
    "side": ["left", "right"],
    "person": ["man", "woman"],
    "look": ["tall", "old"],
}

SLOT = re.compile(r"\{(\w+)\}")
# May stand twice in one sentence; of every other word a second one sounds like a slip ("the red hat and the red hat").
REPEATABLE = {"A", "AN", "THE", "THIS", "MY", "YOUR", "AND", "OR", "IS", "ARE", "IT", "IT'S", "TOO"}
REPEATABLE |= {"IN", "ON", "AT", "TO", "FOR", "WITH", "OF", "OLD", "COSTS", "PLAYS"}
REPEATABLE |= {word.upper() for part in ("digit", "tens", "money", "vehicle") for word in PARTS[part]}


def transcript(sentence: str) -> str:
    """The sentence in LibriSpeech's alphabet: A-Z, apostrophe and single spaces."""
    return re.sub(r"[^A-Z' ]", "", sentence.upper())


def vocabulary() -> set[str]:
    """Every word that the grammar can produce."""
    alternatives = [text for rules in (TOPICS, PARTS) for texts in rules.values() for text in texts]
    return {word for text in alternatives for word in transcript(SLOT.sub("", text)).split()}


def _expand(template: str, rng: random.Random) -> str:
    def pick(match: re.Match[str]) -> str:
        alternatives = PARTS[match[1]]
        return _expand(alternatives[int(rng.random() * len(alternatives))], rng)

    return SLOT.sub(pick, template)


def _sounds_natural(words: list[str]) -> bool:
    return all(count == 1 or word in REPEATABLE for word, count in Counter(words).items())


def draw_sentences(number: int, rng: random.Random, *, exclude: Container[str] = (), candidates: int = 1) -> list[str]:
    """Draw different sentences, the topics in turn.

    Args:
        number: How many.
        rng: Source of chance.
        exclude: Transcripts that may not come up (those of another split).
        candidates: How many sentences to draw for each one kept, which is that with the words least used so far.
            1 samples the grammar as it is; 30 evens out the word counts, so that a small corpus shows every word often.

    Returns:
        Sentences with their punctuation.
    """
    used: Counter[str] = Counter()
    sentences: dict[str, str] = {}  # transcript -> sentence, in the order drawn
    topics = list(TOPICS.values())
    while len(sentences) < number:
        templates = topics[len(sentences) % len(topics)]
        best, best_score = "", -1.0
        while best_score < 0:
            for _ in range(candidates):
                sentence = _expand(templates[int(rng.random() * len(templates))], rng)
                text = transcript(sentence)
                words = text.split()
                if text in exclude or text in sentences or not _sounds_natural(words):
                    continue
                # The fourth power lets one rare word outweigh any number of frequent ones.
                score = sum(1 / (1 + used[word]) ** 4 for word in words) / len(words)
                if score > best_score:
                    best, best_score = sentence, score
        text = transcript(best)
        sentences[text] = best
        used.update(text.split())
    return list(sentences.values())
