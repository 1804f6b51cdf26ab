// Words that the small model does not know the use of: things and deeds of daily life by the hundred, and made-up words without
// end, so that no list of what to decline can be learned by heart. Knows no questions.

import { some } from './declining.ts'
import { pick, type Random } from './task.ts'

const listed = (text: string): readonly string[] => text.trim().split(/\s*,\s*/)

export const nouns: readonly string[] = listed(`
  cushion, bottle, lawn mower, hammer, lemon, carrot, pillow, curtain, vase, pencil, notebook, backpack, wallet, jacket, scarf,
  sweater, trousers, raincoat, belt, necklace, bracelet, sunflower, tulip, rose, cactus, oak, pine cone, mushroom, cabbage,
  onion, pepper, melon, peach, plum, cherry, strawberry, walnut, almond, biscuit, pudding, pancake, sausage, lamb, turkey,
  salmon, lobster, oyster, squirrel, hedgehog, badger, owl, eagle, pigeon, swan, turtle, snake, lizard, spider, beetle,
  butterfly, dragonfly, elephant, giraffe, camel, kangaroo, penguin, dolphin, octopus, jellyfish, tiger, lion, leopard, donkey,
  pony, calf, puppy, kitten, hamster, rabbit, aquarium, cage, stable, barn, fence, gate, chimney, balcony, attic, cellar,
  hallway, elevator, corridor, office, factory, hospital, pharmacy, bakery, cinema, theatre, stadium, playground, fountain,
  statue, cathedral, temple, lighthouse, harbour, ferry, canoe, yacht, submarine, helicopter, airport, runway, glider,
  tram, motorway, tunnel, crossroads, traffic jam, lorry, ambulance, fire engine, wheelbarrow, shovel, rake, axe, saw,
  screwdriver, drill, nail, screw, rope, chain, bucket, sponge, broom, soap, towel, toothbrush, comb, razor, perfume,
  lipstick, bandage, pill, syringe, thermometer, microscope, magnet, battery, cable, plug, lightbulb, torch, lantern, stove,
  oven, kettle, teapot, saucepan, frying pan, fork, knife, plate, bowl, napkin, tablecloth, corkscrew, jug, barrel, crate,
  envelope, stamp, postcard, parcel, invoice, contract, receipt, cheque, mortgage, pension, lottery, jackpot, auction,
  festival, parade, carnival, picnic, barbecue, banquet, funeral, marriage, baptism, graduation, exam, lecture, seminar,
  thesis, poster, brochure, dictionary, encyclopedia, atlas, globe, compass, anchor, sail, paddle, fishing rod, hook, tennis
  racket, golf club, skateboard, sledge, ski, helmet, saddle, trophy, medal, whistle, trumpet, cello, accordion, harp, banjo,
  saxophone, orchestra, choir, ballet, symphony, melody, portrait, sculpture, canvas, brush, easel, pottery, tapestry, comet,
  planet, galaxy, satellite, asteroid, glacier, desert, canyon, waterfall, swamp, island, peninsula, reef, cave, cliff, storm,
  hurricane, thunder, drought, flood, frost, fog, politician, minister, mayor, judge, lawyer, soldier, general, spy, thief,
  pirate, knight, wizard, witch, dragon, unicorn, vampire, zombie, ghost, angel, prophet, priest, nun, monk, nurse, surgeon,
  butcher, carpenter, electrician, mechanic, barber, waiter, cook, cleaner, librarian, journalist, novelist, poet, composer,
  actor, dancer, singer, drummer, champion, referee, coach, goalkeeper, tourist, passenger, refugee, orphan, twin, cousin,
  nephew, uncle, grandmother, toddler, teenager`)

export const verbs: readonly string[] = listed(`
  find, sell, lift, polish, knit, sew, mend, grow, water, feed, tame, catch, chase, feel, touch, kick, juggle, climb, cross,
  visit, explore, draw, sketch, film, describe, praise, blame, forgive, marry, hire, fire, defend, attack, rescue, bury, dig up,
  melt, freeze, boil, fry, grill, peel, slice, chop, mix, stir, pour, drink, swallow, chew, dry, iron, fold, hang, decorate,
  furnish, park, drive, tow, sail, land, launch, insure, donate, inherit, win, lose, bet on, vote for, govern, conquer, defeat,
  ignore, forget, remember, imagine, think about, talk about, argue about, laugh at, cry over, worry about, wait for,
  sort, read, write, copy, open, close, count, measure, split, join, turn, cut, get, put, take, make, keep, remove, add, check,
  test, compare, round, reverse, repeat, replace, search, start, end, give, use, list, leave, raise, drop, sleep under`)

export const strangePlaces: readonly string[] = listed(`
  in Oslo, at college, by train, in the rain, in the office, at the airport, on the motorway, in space, abroad, under water,
  in hospital, on Saturday, next week, at midnight, in summer, before breakfast, after work, for ten guests,
  with a friend, alone, quickly, cheaply, by myself, in the dark, on foot, from Madrid, near Berlin, in 1850, last year`)

export const feasts: readonly string[] = listed(`
  Christmas, Easter, the election, the full moon, payday, the exam, Halloween, New Year, the concert,
  the next eclipse, Carnival, the harvest, Ramadan, Hanukkah, the World Cup, graduation, the sale`)

/** Units that the table of conversions has not. */
export const foreignUnits: readonly string[] = listed(`
  gallons, ounces, pints, quarts, stones, bushels, leagues, furlongs, miles, acres, hectares, volts, watts, ohms, joules,
  calories, newtons, pascals, hertz, bars, decades, centuries, parsecs, light years, carats, bits, bytes, megabytes, pixels,
  dozens, teaspoons, cups, barrels, dollars, euros, kelvins, radians, degrees, lumens, moles, pages, steps, points,
  spoons, hands, horsepower, nautical miles`)

const onsets = listed(
  'bl, br, cl, cr, dr, fl, fr, gl, gr, kl, pl, pr, qu, sk, sl, sm, sn, sp, squ, str, thr, tr, v, w, y, z',
)
const middles = listed(
  'abb, add, ag, amp, anter, ebb, eck, ell, erv, iff, imb, ingl, izz, obb, odd, omp, orv, ubb, ugg, unk',
)
const ends = listed('a, al, an, er, et, id, il, im, in, le, o, ock, on, or, ous, um, us, y')

/** A word that nobody knows, put together from syllables: 'blorvim', 'snaddle'. */
export function madeUpWord(random: Random, heldOut: boolean): string {
  return some(random, onsets, heldOut) + pick(random, middles) + pick(random, ends)
}

/** 'lemons', 'cherries'. */
export function plural(noun: string): string {
  if (/(s|sh|ch|x)$/.test(noun)) return `${noun}es`
  return /[^aeou]y$/.test(noun) ? `${noun.slice(0, -1)}ies` : `${noun}s`
}

const articles = ['a', 'a', 'the', 'the', 'my', 'our', 'this', 'your', 'some']
const adjectives = [
  '',
  '',
  '',
  'old ',
  'new ',
  'big ',
  'cheap ',
  'good ',
  'strange ',
  'broken ',
  'small ',
  'red ',
]

export function someNoun(random: Random, heldOut: boolean): string {
  return random() < 0.4 ? madeUpWord(random, heldOut) : some(random, nouns, heldOut)
}

/** 'my old lemon', 'the blorvim', 'cherries'. */
export function someThing(random: Random, heldOut: boolean): string {
  const noun = someNoun(random, heldOut)
  if (random() < 0.25) return plural(noun)
  const whole = pick(random, adjectives) + noun
  const article = pick(random, articles)
  return `${article === 'a' && /^[aeio]/.test(whole) ? 'an' : article} ${whole}`
}

export function someDeed(random: Random, heldOut: boolean): string {
  return random() < 0.15 ? madeUpWord(random, heldOut) : some(random, verbs, heldOut)
}

const oneOf = (list: readonly string[]): string => `(?:${list.join('|')})`
const madeUp = [onsets, middles, ends].map(oneOf).join('')
const noun = `(?:${oneOf(nouns)}|${madeUp})`

const things = `(?:${oneOf(nouns.map(plural))}|${madeUp}s|${madeUp}es|${[onsets, middles].map(oneOf).join('')}ies)`

/** What stands in the gaps, as the source of regular expressions. */
export const patterns: { readonly [kind in 'madeUp' | 'things' | 'thing' | 'deed']: string } = {
  madeUp,
  things,
  thing: `(?:(?:an|${articles.join('|')}) (?:${adjectives.join('|')})${noun}|${things})`,
  deed: `(?:${oneOf(verbs)}|${madeUp})`,
}
