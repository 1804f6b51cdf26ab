// What a character means to SentencePiece's rules for pieces (trainer_interface.cc, IsValidSentencePiece, with Gemma's
// settings split_by_whitespace, split_by_unicode_script, split_by_number, split_digits): which characters may stand
// in one piece. Knows nothing about texts.
//
// Scripts come from the Unicode tables of the JavaScript engine, so a character that an older engine does not know yet
// counts there as Common.

/** Never part of a piece: tabs (SentencePiece's boundary mark in training) and NUL. They are bytes to the model. */
export const BARRIER = 1
/** A piece of its own: the digits 0 to 9, ASCII and full width. */
export const ALONE = 2
/** The space, which only begins a piece. */
export const SPACE = 3
/** The script of the character before it, as combining marks have; beside nothing it fits any. */
export const INHERITED = 4
/** From here on a class is a script; two scripts never share a piece. */
const FIRST_SCRIPT = 5

// Chinese characters and both Japanese syllabaries count as one script.
const HAN = FIRST_SCRIPT + 2

/** Common first, then what is met most, then all others of Unicode 17. */
const SCRIPTS: readonly string[] = (
  'Common Latin Han Cyrillic Greek Arabic Hebrew Devanagari Hangul Thai Bengali Tamil Telugu Gujarati Kannada ' +
  'Malayalam Gurmukhi Oriya Sinhala Khmer Lao Myanmar Tibetan Georgian Armenian Ethiopic Mongolian Bopomofo ' +
  'Adlam Ahom Anatolian_Hieroglyphs Avestan Balinese Bamum Bassa_Vah Batak Beria_Erfe Bhaiksuki Brahmi Braille ' +
  'Buginese Buhid Canadian_Aboriginal Carian Caucasian_Albanian Chakma Cham Cherokee Chorasmian Coptic Cuneiform ' +
  'Cypriot Cypro_Minoan Deseret Dives_Akuru Dogra Duployan Egyptian_Hieroglyphs Elbasan Elymaic Garay Glagolitic ' +
  'Gothic Grantha Gunjala_Gondi Gurung_Khema Hanifi_Rohingya Hanunoo Hatran Imperial_Aramaic ' +
  'Inscriptional_Pahlavi Inscriptional_Parthian Javanese Kaithi Kawi Kayah_Li Kharoshthi Khitan_Small_Script ' +
  'Khojki Khudawadi Kirat_Rai Lepcha Limbu Linear_A Linear_B Lisu Lycian Lydian Mahajani Makasar Mandaic ' +
  'Manichaean Marchen Masaram_Gondi Medefaidrin Meetei_Mayek Mende_Kikakui Meroitic_Cursive ' +
  'Meroitic_Hieroglyphs Miao Modi Mro Multani Nabataean Nag_Mundari Nandinagari New_Tai_Lue Newa Nko Nushu ' +
  'Nyiakeng_Puachue_Hmong Ogham Ol_Chiki Ol_Onal Old_Hungarian Old_Italic Old_North_Arabian Old_Permic ' +
  'Old_Persian Old_Sogdian Old_South_Arabian Old_Turkic Old_Uyghur Osage Osmanya Pahawh_Hmong Palmyrene ' +
  'Pau_Cin_Hau Phags_Pa Phoenician Psalter_Pahlavi Rejang Runic Samaritan Saurashtra Sharada Shavian Siddham ' +
  'Sidetic SignWriting Sogdian Sora_Sompeng Soyombo Sundanese Sunuwar Syloti_Nagri Syriac Tagalog Tagbanwa ' +
  'Tai_Le Tai_Tham Tai_Viet Tai_Yo Takri Tangsa Tangut Thaana Tifinagh Tirhuta Todhri Tolong_Siki Toto ' +
  'Tulu_Tigalari Ugaritic Vai Vithkuqi Wancho Warang_Citi Yezidi Yi Zanabazar_Square'
).split(' ')

/** By code point: BARRIER, ALONE, SPACE, INHERITED or the number of a script. U+2581 is not among them: it is the space. */
export type ClassOfCharacter = (point: number) => number

/** One megabyte of memory for what it has met. */
export function createClassOfCharacter(): ClassOfCharacter {
  const known = new Uint8Array(0x110000)
  const scripts = SCRIPTS.map(patternOf)
  const inherited = /\p{Script=Inherited}/u
  const japanese = /[\p{Script=Hiragana}\p{Script=Katakana}\u30fc]/u
  const classify = (point: number): number => {
    if (point === 0 || point === 0x09) return BARRIER
    if (point === 0x20) return SPACE
    if ((point >= 0x30 && point <= 0x39) || (point >= 0xff10 && point <= 0xff19)) return ALONE
    const character = String.fromCodePoint(point)
    if (japanese.test(character)) return HAN
    if (inherited.test(character)) return INHERITED
    const script = scripts.findIndex((pattern) => pattern?.test(character))
    return FIRST_SCRIPT + Math.max(0, script) // none: not assigned or for private use, which is Common here
  }
  return (point) => (known[point] ||= classify(point))
}

/** undefined where the engine's Unicode does not have the script yet. */
function patternOf(script: string): RegExp | undefined {
  try {
    return new RegExp(`\\p{Script=${script}}`, 'u')
  } catch {
    return undefined
  }
}
